"""Breaks what a plan breaks, and measures how long the system takes to be ready again after the last fault."""

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass, field

from tools.faults import injection
from tools.faults.plan import PARTS, Fault
from tools.faults.record import Record
from tools.faults.system import System

# The promise: within this many seconds, and without a restart.
READY_SECONDS = 15.0
# A round in which the system does not become ready goes on after so many.
_GIVE_UP_SECONDS = 20.0
_POLL_SECONDS = 0.1


@dataclass(slots=True)
class Outages:
    """The faults of one round, as they really were."""

    recovery: dict[Fault, float] = field(default_factory=dict)
    """Seconds from the end of the last of the faults that overlapped until every service was ready."""
    last_words: str = ""
    """The checks that still failed when the wait was given up."""
    _one_at_a_time: defaultdict[object, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    """A fault of a part waits until the one before it is healed, however long that takes; those of a link add up."""
    _broken: set[Fault] = field(default_factory=set)
    _healed: list[Fault] = field(default_factory=list)

    async def cause(self, system: System, record: Record, started: float) -> None:
        """Breaks everything that the plan breaks, each at its time; returns when all is healed and ready again.

        Records when each fault began and ended, since an orderly stop, for one, takes its time.
        """
        async with asyncio.TaskGroup() as faults:
            for fault in record.plan.faults:
                faults.create_task(self._one(system, fault, record, started), name=str(fault))

    async def _one(self, system: System, fault: Fault, record: Record, started: float) -> None:
        await asyncio.sleep(started + fault.at - time.monotonic())
        async with self._one_at_a_time[fault.subject if fault.subject in PARTS else fault]:
            began = time.monotonic()
            self._broken.add(fault)
            try:
                async with injection.broken(system, fault):
                    await asyncio.sleep(fault.seconds)
            finally:
                self._broken.discard(fault)
                record.lasted[fault] = began - started, time.monotonic() - started
        self._healed.append(fault)
        if not self._broken:
            await self._recover(system)

    async def _recover(self, system: System) -> None:
        """Waits until the system is ready, unless the next fault comes before: it is judged with that one."""
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
