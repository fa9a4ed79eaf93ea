"""Waits between tries: exponential with jitter, so that many clients do not come back together."""

import random
from collections.abc import Callable


class Backoff:
    """Seconds to wait before the next try, between `first / 2` and a ceiling that doubles up to `most`."""

    def __init__(
        self, first: float = 0.1, most: float = 5.0, *, draw: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._first = first
        self._most = most
        self._draw = draw
        self._tries = 0

    def next(self) -> float:
        ceiling = min(self._most, self._first * 2 ** min(self._tries, 32))
        self._tries += 1
        return self._draw(self._first / 2, ceiling)

    def reset(self) -> None:
        self._tries = 0
