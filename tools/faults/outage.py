"""What is broken right now, and how long the system took to be ready again after the last of it was healed."""

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass, field

from tools.faults import injection, scenario
from tools.faults.plan import PARTS, Fault, Plan
from tools.faults.system import System

# The promise: within this many seconds, and without a restart.
READY_SECONDS = 15.0
# Faults that overlap are judged together; until then a round with one that never ends goes on.
_GIVE_UP_SECONDS = 20.0
_POLL_SECONDS = 0.1


@dataclass(slots=True)
class Outages:
    """Of one round."""

    recovery: dict[Fault, float] = field(default_factory=dict)
    """Seconds from the end of the last of the faults that overlapped until every service was ready."""
    last_words: str = ""
    """What was still not ready when it was given up."""
    lasted: dict[Fault, tuple[float, float]] = field(default_factory=dict)
    """Seconds since the round began."""
    _one_at_a_time: defaultdict[object, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    """A fault of a part waits for the one before it to be healed, however long that takes to start; links do not."""
    _broken: set[Fault] = field(default_factory=set)
    _healed: list[Fault] = field(default_factory=list)

    async def cause(self, system: System, plan: Plan, started: float) -> None:
        """Everything that the plan breaks, each at its time; returns when all is healed and ready again."""
        async with asyncio.TaskGroup() as faults:
            for fault in plan.faults:
                faults.create_task(self._one(system, fault, started), name=str(fault))

    async def _one(self, system: System, fault: Fault, started: float) -> None:
        await asyncio.sleep(started + fault.at - time.monotonic())
        subject = scenario.subject(fault)
        async with self._one_at_a_time[subject if subject in PARTS else fault]:
            began = time.monotonic()
            self._broken.add(fault)
            try:
                await injection.inject(system, fault)
                await asyncio.sleep(fault.seconds)
                await injection.heal(system, fault)
            finally:
                self._broken.discard(fault)
                self.lasted[fault] = began - started, time.monotonic() - started
        self._healed.append(fault)
        if not self._broken:
            await self._recover(system)

    async def _recover(self, system: System) -> None:
        """Unless the next fault comes before."""
        healed = time.monotonic()
        while not self._broken:
            lacking = await system.unready()
            waited = time.monotonic() - healed
            if not lacking or waited > _GIVE_UP_SECONDS:
                self.recovery.update(dict.fromkeys(self._healed, waited))
                self._healed.clear()
                self.last_words = ", ".join(f"{name}: {lack}" for name, lack in lacking.items())
                return
            await asyncio.sleep(_POLL_SECONDS)
