"""Where spans go: to `shared.otlp`, which alone knows OpenTelemetry, if there is a collector, otherwise nowhere."""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from shared.tracing import Trace

if TYPE_CHECKING:
    from shared.otlp import Recorder

NOTHING: AbstractContextManager[object] = nullcontext()


class Nowhere:
    """Takes what a Recorder takes."""

    def span(self, *_: object) -> AbstractContextManager[object]:
        return NOTHING

    messages = answered = close = span

    def request(self, here: Trace, *_: object) -> tuple[Trace, AbstractContextManager[object]]:
        return here, NOTHING

    def caller(self, here: Trace) -> Trace:
        return here


# One for the process, like its logs.
recorder: "Nowhere | Recorder" = Nowhere()
