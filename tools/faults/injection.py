"""Faults, brought about in the running system and healed, and how long it takes to be ready again after that.

A fault takes as long as it takes: an orderly stop of a server lasts some seconds, and what needs a server that is
down or frozen waits for it, at most a minute. So every fault needs a task of its own. Two faults of the same part or
of the same link must not overlap; a part and its links may break together.
"""

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tools.faults import servers
from tools.faults.plan import PARTS, Fault, Kind
from tools.faults.proxy import Proxy
from tools.faults.record import Record
from tools.faults.system import System
from tools.stack.rabbitmq import WATERMARK

REPEAT_SECONDS = 0.2
LAG_SECONDS = 0.3
NO_MEMORY = "0"
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
                async with broken(system, fault):
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


@asynccontextmanager
async def broken(system: System, fault: Fault) -> AsyncIterator[None]:
    """The part is broken inside and healed at the end: it runs again, but is perhaps not ready yet.

    Raises StackError if it cannot be broken or healed.
    """
    link = system.links.get(fault.target)
    if link or fault.kind is Kind.SPOIL:
        disturbing = asyncio.create_task(_disturb(link, fault) if link else _spoil(system, fault), name=str(fault))
        try:
            yield
        finally:
            while not disturbing.done():  # the Redis client swallows a cancellation now and then
                disturbing.cancel()
                await asyncio.wait({disturbing}, timeout=REPEAT_SECONDS)
            await (link.heal() if link else servers.flush_redis(system.redises[fault.target].url))
    else:
        await _break(system, fault)
        try:
            yield
        finally:
            await _heal(system, fault)


async def _disturb(link: Proxy, fault: Fault) -> None:
    match fault.kind:
        case Kind.RESET:
            while True:
                link.reset()
                await asyncio.sleep(REPEAT_SECONDS)
        case Kind.CUT_ANSWER:
            while True:
                link.cut_answer()
                await asyncio.sleep(REPEAT_SECONDS)
        case Kind.CUT:
            link.cut()
        case Kind.STALL:
            link.stall()
        case Kind.MUTE:
            link.mute()
        case _:
            link.lag(fault.size or LAG_SECONDS)


async def _spoil(system: System, fault: Fault) -> None:
    for spoiled in itertools.cycle(servers.SPOILED):
        await servers.spoil_redis(system.redises[fault.target].url, spoiled)
        await asyncio.sleep(REPEAT_SECONDS)


async def _break(system: System, fault: Fault) -> None:
    match fault.kind:
        case Kind.KILL:
            await system.parts[fault.target].kill()
        case Kind.TERMINATE:
            await system.parts[fault.target].stop()
        case Kind.FREEZE:
            system.parts[fault.target].daemon.pause()
        case Kind.DELETE_QUEUE:
            await servers.delete_queues(system.rabbitmq.url, fault.target)
        case Kind.DELETE_BINDING:
            await servers.delete_bindings(system.rabbitmq.url, fault.target)
        case Kind.DELETE_DEAD:
            await servers.delete_queues(system.rabbitmq.url, f"{fault.target}.dead")
            await servers.send_unreadable(system.rabbitmq.url, fault.target)
        case _:
            await _disable(system, fault, begins=True)


async def _heal(system: System, fault: Fault) -> None:
    match fault.kind:
        case Kind.KILL | Kind.TERMINATE:
            await system.parts[fault.target].start()
        case Kind.FREEZE:
            system.parts[fault.target].daemon.resume()
        case Kind.DELETE_QUEUE | Kind.DELETE_BINDING | Kind.DELETE_DEAD:
            pass  # whoever finds it missing declares it again
        case _:
            await _disable(system, fault, begins=False)


async def _disable(system: System, fault: Fault, *, begins: bool) -> None:
    match fault.kind:
        case Kind.READ_ONLY:
            await system.databases[fault.target].refuse_writes(refuse=begins)
        case Kind.DISK_FULL:
            await system.databases[fault.target].refuse_rows(refuse=begins)
        case Kind.REFUSE:
            await system.databases[fault.target].refuse_connections(refuse=begins)
        case Kind.RESTORE:
            await (system.databases[fault.target].dump() if begins else system.databases[fault.target].restore())
        case Kind.LOCK:
            await system.databases[fault.target].lock(locked=begins)
        case Kind.ALARM:
            await servers.allow_memory(system.rabbitmq, NO_MEMORY if begins else WATERMARK)
        case _ if fault.target in system.databases:
            system.databases[fault.target].clock.jump(fault.size if begins else 0)
        case _:
            await servers.jump_redis(system.redises[fault.target].url, fault.size if begins else -fault.size)
