"""The services' log lines that belong to one trace, for a person to read."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from textwrap import indent

from tools.stack.services import NAMES

# In a column of their own, or the same on every line of a trace.
NOT_REPEATED = {"timestamp", "level", "service", "event", "trace_id", "trace_ids", "span_id", "request_id"}
UNREMARKABLE = {"debug", "info"}


@dataclass(frozen=True)
class Line:
    time: datetime
    fields: dict[str, object]

    @property
    def service(self) -> str:
        return str(self.fields["service"])

    def __str__(self) -> str:
        """One line, unless a traceback belongs to it."""
        level = str(self.fields["level"])
        event = str(self.fields["event"]) if level in UNREMARKABLE else f"{level}: {self.fields['event']}"
        rest = {name: str(value) for name, value in self.fields.items() if name not in NOT_REPEATED}
        shown = "  ".join(f"{name}={value}" for name, value in rest.items() if "\n" not in value)
        tracebacks = "".join("\n" + indent(value, "    ") for value in rest.values() if "\n" in value)
        clock = self.time.isoformat(timespec="milliseconds")[11:23]
        return f"{clock}  {self.service:<9} {event:<15} {shown}".rstrip() + tracebacks


def find(folder: Path, identifier: str) -> list[Line]:
    """In time order; `identifier` is a trace id or a request id."""
    lines = [line for name in NAMES for line in _read(folder / "log" / f"{name}.log", identifier)]
    return sorted(lines, key=lambda line: line.time)


def _read(path: Path, identifier: str) -> Iterator[Line]:
    if not path.exists():
        return
    wanted = identifier.encode()
    with path.open("rb") as log:
        for text in log:
            if wanted in text and (line := _parse(text, identifier)):
                yield line


def _parse(text: bytes, identifier: str) -> Line | None:
    """None for what is no log line of ours, such as a crash of the interpreter, and for another trace's."""
    try:
        fields = json.loads(text)
        identifiers = [fields.get("trace_id"), fields.get("request_id"), *fields.get("trace_ids", ())]
        time = datetime.fromisoformat(fields["timestamp"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return Line(time, fields) if identifier in identifiers else None
