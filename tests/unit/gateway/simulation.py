"""A service that answers in batches, under an open load, behind a concurrency limit: simulated, event by event."""

import math
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.upstream.admission import ConcurrencyLimit

# A queue that is longer than the one of a standing overload, and shorter than that of a burst.
LENGTH, SECONDS = 32, 0.05


@dataclass
class Service:
    """A batch of n takes `fixed + n * each` seconds, then each answer `latency` more that occupies nothing."""

    fixed: float = 0.003
    each: float = 0.00055
    latency: float = 0.001
    most: int = 256

    @property
    def capacity(self) -> float:
        """Answers a second with 64 in flight, half of them in the batch."""
        return 32 / (self.fixed + 32 * self.each)


@dataclass
class Outcome:
    arrived: int = 0
    refused: int = 0
    latencies: list[float] = field(default_factory=list)
    limits: list[int] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        return sorted(self.latencies)[int(len(self.latencies) * share)]


class Simulation:
    def __init__(self, limit: ConcurrencyLimit, service: Service, seed: int = 1) -> None:
        self.limit = limit
        self.service = service
        self.now = 0.0
        self._random = random.Random(seed)  # noqa: S311  # a load, not a secret
        self._queue: deque[float] = deque()  # arrivals without a slot
        self._admitted: deque[tuple[float, float]] = deque()  # (arrival, admission)
        self._answers: deque[tuple[float, float, float]] = deque()
        self._in_flight = 0
        self._batch: list[tuple[float, float]] = []
        self._batch_end = math.inf

    def run(self, seconds: float, rate: float) -> Outcome:
        """The outcome of a random load of `rate` requests a second; the next run continues from here."""
        outcome = Outcome()
        end = self.now + seconds
        arrivals = self._arrivals(end, rate)
        arrival = next(arrivals)
        while True:
            answer = self._answers[0][0] if self._answers else math.inf
            self.now = min(arrival, self._batch_end, answer)
            if self.now >= end:
                self.now = end
                return outcome
            if self.now == arrival:
                self._arrive(outcome)
                arrival = next(arrivals)
            elif self.now == answer:
                self._leave(outcome)
            else:
                self._answers.extend((self.now + self.service.latency, *entry) for entry in self._batch)
                self._batch, self._batch_end = [], math.inf
            self._begin_batch()

    def _arrivals(self, end: float, rate: float) -> Iterator[float]:
        now = self.now
        while True:
            now += self._random.expovariate(rate)
            yield now if now < end else math.inf

    def _arrive(self, outcome: Outcome) -> None:
        outcome.arrived += 1
        self._expire(outcome)
        if self._in_flight < self.limit.limit:
            self._admit(self.now)
        elif len(self._queue) < LENGTH:
            self._queue.append(self.now)
        else:
            outcome.refused += 1

    def _leave(self, outcome: Outcome) -> None:
        _, arrived, admitted = self._answers.popleft()
        outcome.latencies.append(self.now - arrived)
        self.limit.sample(self.now - admitted, self._in_flight)
        self._in_flight -= 1
        outcome.limits.append(self.limit.limit)
        self._expire(outcome)
        while self._queue and self._in_flight < self.limit.limit:
            self._admit(self._queue.popleft())

    def _expire(self, outcome: Outcome) -> None:
        while self._queue and self._queue[0] + SECONDS <= self.now:
            self._queue.popleft()
            outcome.refused += 1

    def _admit(self, arrived: float) -> None:
        self._in_flight += 1
        self._admitted.append((arrived, self.now))

    def _begin_batch(self) -> None:
        if self._batch or not self._admitted:
            return
        size = min(len(self._admitted), self.service.most)
        self._batch = [self._admitted.popleft() for _ in range(size)]
        self._batch_end = self.now + self.service.fixed + size * self.service.each
