"""A service that answers in batches, under an open load, behind a concurrency limit: simulated, event by event."""

import math
import random
from collections import deque
from dataclasses import dataclass, field

from gateway.upstream.admission import ConcurrencyLimit

# The queue in front of the limit: longer than the one of a standing overload, and shorter than that of a burst.
LENGTH, SECONDS = 32, 0.05
MOST_IN_A_BATCH = 256


@dataclass
class Service:
    """A batch of n requests takes `fixed + n * each` seconds; its answers arrive `latency` later."""

    fixed: float = 0.003
    each: float = 0.00055
    latency: float = 0.001

    @property
    def capacity(self) -> float:
        """Answers a second with 64 in flight, half of them in the batch."""
        return 32 / (self.fixed + 32 * self.each)


@dataclass
class Outcome:
    arrived: int = 0
    refused: int = 0
    latencies: list[float] = field(default_factory=list)

    @property
    def p95(self) -> float:
        return sorted(self.latencies)[int(len(self.latencies) * 0.95)]


class Simulation:
    def __init__(self, limit: ConcurrencyLimit, service: Service, seed: int) -> None:
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
        outcome, end = Outcome(), self.now + seconds
        arrival = self.now + self._random.expovariate(rate)
        while True:
            answer = self._answers[0][0] if self._answers else math.inf
            self.now = min(arrival, self._batch_end, answer, end)
            self._expire(outcome)
            if self.now == end:
                return outcome
            if self.now == arrival:
                self._arrive(outcome)
                arrival += self._random.expovariate(rate)
            elif self.now == answer:
                self._leave(outcome)
            else:
                self._answers.extend((self.now + self.service.latency, *entry) for entry in self._batch)
                self._batch, self._batch_end = [], math.inf
            while self._queue and self._in_flight < self.limit.limit:
                self._in_flight += 1
                self._admitted.append((self._queue.popleft(), self.now))
            if self._admitted and not self._batch:
                self._batch = [self._admitted.popleft() for _ in range(min(len(self._admitted), MOST_IN_A_BATCH))]
                self._batch_end = self.now + self.service.fixed + len(self._batch) * self.service.each

    def _expire(self, outcome: Outcome) -> None:
        while self._queue and self._queue[0] + SECONDS <= self.now:
            self._queue.popleft()
            outcome.refused += 1

    def _arrive(self, outcome: Outcome) -> None:
        outcome.arrived += 1
        if len(self._queue) < LENGTH:
            self._queue.append(self.now)
        else:
            outcome.refused += 1

    def _leave(self, outcome: Outcome) -> None:
        _, arrived, admitted = self._answers.popleft()
        outcome.latencies.append(self.now - arrived)
        self.limit.sample(self.now - admitted, self._in_flight)
        self._in_flight -= 1
