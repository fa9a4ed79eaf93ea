"""How much the gateway itself has to refuse: a share that grows while it lags behind its own events.

A service's limit sees what the service does with a request, not how long the request lay unread before a process that
has too much to do. That wait is the lag of the event loop. As in CoDel (RFC 8289 §3.1) the least lag of a window
counts: a burst passes, a standing queue does not.
"""

import asyncio
import math
from dataclasses import dataclass
from typing import NoReturn


@dataclass(frozen=True, slots=True)
class StrainParameters:
    """Times are seconds; the steps are shares of all requests, taken once a window."""

    tolerated: float = 0.01
    window: float = 0.1
    step_up: float = 0.05
    step_down: float = 0.02
    most: float = 0.95


DEFAULTS = StrainParameters()

_INTERVAL = 0.01


class Strain:
    """`share` of the requests is refused, evenly spread; times are monotonic seconds."""

    def __init__(self, parameters: StrainParameters = DEFAULTS) -> None:
        self._parameters = parameters
        self._least = math.inf
        self._end = -math.inf
        self._credit = 0.0
        self.share = 0.0

    def observe(self, lag: float, now: float) -> None:
        """The loop came to something `lag` seconds late."""
        self._least = min(self._least, lag)
        if now < self._end:
            return
        parameters = self._parameters
        if self._least > parameters.tolerated:
            self.share = min(parameters.most, self.share + parameters.step_up)
        else:
            self.share = max(0.0, self.share - parameters.step_down)
        self._least = math.inf
        self._end = now + parameters.window

    def refuses(self) -> bool:
        """Whether the next request is one of the share."""
        self._credit += self.share
        if self._credit < 1.0:
            return False
        self._credit -= 1.0
        return True


async def watch(strain: Strain) -> NoReturn:
    """Asks to be woken a hundred times a second, and sees how late that is."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _INTERVAL
        await asyncio.sleep(_INTERVAL)
        now = loop.time()
        strain.observe(now - due, now)
