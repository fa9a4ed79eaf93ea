"""A circuit breaker: an address that keeps failing is left alone, then probed, then given its load back bit by bit.

closed → open → half-open → recovering → closed. A failed probe, or too many failures while recovering, opens it again,
each time for twice as long until it has been closed.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

# What a request was let through with; a permit of an earlier state tells nothing of the present one.
Permit = NewType("Permit", int)
REFUSED = Permit(0)


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    RECOVERING = "recovering"


@dataclass(frozen=True, slots=True)
class BreakerParameters:
    """Times are seconds, rates and shares are of 1. Failures are counted over `buckets * bucket_seconds`."""

    bucket_seconds: float = 1.0
    buckets: int = 10
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
    """Counts the answers of the last seconds, in buckets that expire one by one."""

    __slots__ = ("_answers", "_bucket", "_failures", "_latest", "answers", "failures")

    def __init__(self, bucket_seconds: float, buckets: int) -> None:
        self._bucket = bucket_seconds
        self._answers = [0] * buckets
        self._failures = [0] * buckets
        self._latest = 0
        self.answers = 0
        self.failures = 0

    def add(self, ok: bool, now: float) -> None:
        number = int(now / self._bucket)
        if number > self._latest:
            self._expire(number)
        slot = self._latest % len(self._answers)
        self._answers[slot] += 1
        self.answers += 1
        if not ok:
            self._failures[slot] += 1
            self.failures += 1

    def clear(self) -> None:
        self._expire(self._latest + len(self._answers))

    def _expire(self, number: int) -> None:
        """Makes `number` the latest bucket, and empty; a pause costs no more than all buckets."""
        for expired in range(max(self._latest + 1, number - len(self._answers) + 1), number + 1):
            slot = expired % len(self._answers)
            self.answers -= self._answers[slot]
            self.failures -= self._failures[slot]
            self._answers[slot] = self._failures[slot] = 0
        self._latest = number


class Breaker:
    """Of one address. Times are monotonic seconds; `state` is that of the last call."""

    def __init__(self, parameters: BreakerParameters = DEFAULTS) -> None:
        self._parameters = parameters
        self._window = FailureWindow(parameters.bucket_seconds, parameters.buckets)
        self._open_for = parameters.first_open
        self._generation = Permit(1)
        self._until = 0.0  # open: the first probe; half-open: the probes that are out count as lost
        self._places = 0  # half-open: probes that may still go out
        self._answered = 0  # half-open: probes that went well
        self._since = 0.0  # recovering: the start of the ramp
        self._credit = 0.0  # recovering: what is saved up towards the next permit
        self.state = State.CLOSED

    def permit(self, now: float) -> Permit:
        """To be given to `record` or `forget` once; REFUSED, which is false, if the request must not be sent."""
        state = self.state
        if state is State.CLOSED:
            return self._generation
        if state is State.RECOVERING:
            return self._share(now)
        if state is State.HALF_OPEN and self._places:
            return self._probe(now)
        if now < self._until:
            return REFUSED
        self._enter(State.HALF_OPEN)
        self._places = self._parameters.probes
        self._answered = 0
        return self._probe(now)

    def record(self, permit: Permit, ok: bool, now: float) -> None:
        """Tells how the request went: `ok` is that the address answered, and not with a failure of its own."""
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
                self._recover(now)

    def forget(self, permit: Permit) -> None:
        """The request ended and told nothing of the address: its client left, say."""
        if permit == self._generation and self.state is State.HALF_OPEN:
            self._places += 1

    def retry_after(self, now: float) -> float:
        """Seconds until a refused request may be worth another try; 0 if none is refused."""
        if self.state is State.CLOSED:
            return 0.0
        if self.state is State.OPEN:
            return max(0.0, self._until - now)
        return self._parameters.first_open

    def _share(self, now: float) -> Permit:
        """Lets a share through that grows with time, evenly spread."""
        elapsed = now - self._since
        if elapsed >= self._parameters.ramp_seconds:
            self.state = State.CLOSED  # same generation: what was let through on the ramp still counts
            self._open_for = self._parameters.first_open
            return self._generation
        self._credit += max(self._parameters.first_share, elapsed / self._parameters.ramp_seconds)
        if self._credit < 1.0:
            return REFUSED
        self._credit -= 1.0
        return self._generation

    def _probe(self, now: float) -> Permit:
        self._places -= 1
        self._until = now + self._parameters.probe_lost_after
        return self._generation

    def _fails_too_often(self) -> bool:
        answers, failures = self._window.answers, self._window.failures
        return answers >= self._parameters.least_requests and failures >= answers * self._parameters.failure_rate

    def _open(self, now: float) -> None:
        self._enter(State.OPEN)
        self._until = now + self._open_for
        self._open_for = min(2 * self._open_for, self._parameters.longest_open)

    def _recover(self, now: float) -> None:
        self._enter(State.RECOVERING)
        self._since = now
        self._credit = 1.0  # the first request finds the door open

    def _enter(self, state: State) -> None:
        self.state = state
        self._generation = Permit(self._generation + 1)
        self._window.clear()
