"""A circuit breaker: a failing address gets no requests, then a few probes, then a growing share of its load.

closed → open → half-open → recovering → closed. A failed probe, or too many failures while recovering, opens it again,
each time for twice as long until it has been closed.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

# Stands for the state that a request was let through in; its outcome counts only while that state lasts.
Permit = NewType("Permit", int)
REFUSED = Permit(0)


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    RECOVERING = "recovering"


@dataclass(frozen=True, slots=True)
class BreakerParameters:
    """Times are seconds, rates and shares are of 1. Failures are counted over `half_window` to twice as long."""

    half_window: float = 5.0
    least_requests: int = 20
    failure_rate: float = 0.5
    first_open: float = 1.0
    longest_open: float = 30.0
    probes: int = 3
    probe_lost_after: float = 10.0
    ramp_seconds: float = 5.0
    first_share: float = 0.1


DEFAULTS = BreakerParameters()


class FailureWindow:
    """Counts answers and failures in two halves, the older of which is dropped when a new one begins."""

    __slots__ = ("_half", "_newer", "_number", "_older")

    def __init__(self, half_seconds: float) -> None:
        self._half = half_seconds
        self._number = 0  # of the newer half, counted from the start of the clock
        self._older = self._newer = (0, 0)

    def totals(self) -> tuple[int, int]:
        """Answers, and how many of them were failures."""
        return self._older[0] + self._newer[0], self._older[1] + self._newer[1]

    def add(self, ok: bool, now: float) -> None:
        number = int(now / self._half)
        if number > self._number:
            self._older = self._newer if number == self._number + 1 else (0, 0)
            self._newer = (0, 0)
            self._number = number
        answers, failures = self._newer
        self._newer = (answers + 1, failures + (not ok))

    def clear(self) -> None:
        self._older = self._newer = (0, 0)


class Breaker:
    """The breaker of one address. Times are monotonic seconds; `state` is as the last call left it."""

    def __init__(self, parameters: BreakerParameters = DEFAULTS) -> None:
        self._parameters = parameters
        self._window = FailureWindow(parameters.half_window)
        self._open_for = parameters.first_open
        self._generation = Permit(1)
        self._until = 0.0  # open: time of the first probe; half-open: when unanswered probes count as lost
        self._probes_left = 0  # half-open: probes that may still be sent
        self._answered = 0  # half-open: probes that succeeded
        self._since = 0.0  # recovering: start of the ramp
        self._credit = 0.0  # recovering: the part of the next permit that has been earned
        self.state = State.CLOSED

    def permit(self, now: float, *, hurried: bool = False) -> Permit:
        """Give it to `record` or `discard` once. REFUSED, which is false, means that the request must not be sent.

        While it recovers, an address that is `hurried`, since another one is away, gets requests past its share.
        """
        state = self.state
        if state is State.CLOSED:
            return self._generation
        if state is State.RECOVERING:
            return self._share(now) or (self._generation if hurried else REFUSED)
        if state is State.HALF_OPEN and self._probes_left:
            return self._probe(now)
        if now < self._until:
            return REFUSED
        self._enter(State.HALF_OPEN)
        self._probes_left = self._parameters.probes
        self._answered = 0
        return self._probe(now)

    def record(self, permit: Permit, ok: bool, now: float) -> None:
        """Counts an outcome: `ok` means that the address answered, and not with a failure of its own."""
        if permit != self._generation:
            return
        if self.state is not State.HALF_OPEN:
            self._window.add(ok, now)
            if not ok and self._fails_too_often():
                self._open(now)
        elif not ok:
            self._open(now)
        else:
            self._answered += 1
            if self._answered == self._parameters.probes:
                self._enter(State.RECOVERING)
                self._since = now
                self._credit = 1.0  # the first request is let through

    def discard(self, permit: Permit) -> None:
        """The request ended without saying anything about the address; for example, its client left."""
        if permit == self._generation and self.state is State.HALF_OPEN:
            self._probes_left += 1

    def try_now(self) -> None:
        """The address is back: the next request is a probe."""
        if self.state is State.OPEN:
            self._until = 0.0

    def retry_after(self, now: float) -> float:
        """Seconds until a refused request may be tried again; 0 if no request is refused."""
        if self.state is State.CLOSED:
            return 0.0
        if self.state is State.OPEN:
            return max(0.0, self._until - now)
        return self._parameters.first_open

    def _share(self, now: float) -> Permit:
        """Lets an evenly spread share of the requests through, which grows with time."""
        elapsed = now - self._since
        if elapsed >= self._parameters.ramp_seconds:
            self.state = State.CLOSED  # the generation stays, so that requests of the ramp still count
            self._open_for = self._parameters.first_open
            return self._generation
        self._credit += max(self._parameters.first_share, elapsed / self._parameters.ramp_seconds)
        if self._credit < 1.0:
            return REFUSED
        self._credit -= 1.0
        return self._generation

    def _probe(self, now: float) -> Permit:
        self._probes_left -= 1
        self._until = now + self._parameters.probe_lost_after
        return self._generation

    def _fails_too_often(self) -> bool:
        answers, failures = self._window.totals()
        return answers >= self._parameters.least_requests and failures >= answers * self._parameters.failure_rate

    def _open(self, now: float) -> None:
        self._enter(State.OPEN)
        self._until = now + self._open_for
        self._open_for = min(2 * self._open_for, self._parameters.longest_open)

    def _enter(self, state: State) -> None:
        self.state = state
        self._generation = Permit(self._generation + 1)
        self._window.clear()
