"""What the clients of a round saw, every request and its answer, and when what was broken: for the verdict."""

from dataclasses import dataclass, field
from typing import Any

from tools.faults.plan import Fault, Operation


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request. Times are seconds since the round began; no status means that there was no answer."""

    trace_id: str
    began: float
    ended: float
    status: int | None = None
    body: Any = None
    """The envelope; None if the answer was not JSON."""
    error: str = ""
    """Why there was no answer."""
    is_deferred: bool = False
    """The answer asks to come back (`Retry-After`), as 409 does for a key whose first request is still at work."""

    @property
    def data(self) -> Any:
        return self.body.get("data") if isinstance(self.body, dict) else None

    @property
    def is_certain(self) -> bool:
        """Whether the answer tells what became of the request: a 5xx, a deferral and no answer leave that open."""
        answered = self.status is not None and self.status < 500  # noqa: PLR2004  # the first server error
        return answered and not self.is_deferred


@dataclass(slots=True)
class Outcome:
    """What became of an operation: its attempts, one after the other, all under the same key if it has one."""

    operation: Operation
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def answer(self) -> Attempt | None:
        """The first attempt whose answer was certain."""
        return next((attempt for attempt in self.attempts if attempt.is_certain), None)


@dataclass(slots=True)
class Record:
    """Of one round. `products` are the ids of the plan's products, in its order.

    `broken` has the seconds from which to which each fault really lasted: an orderly stop, for one, takes its time.
    """

    products: list[int] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    broken: dict[Fault, tuple[float, float]] = field(default_factory=dict)

    def lasted(self, fault: Fault) -> tuple[float, float]:
        """As planned, of one that was not noted."""
        return self.broken.get(fault, (fault.at, fault.at + fault.seconds))
