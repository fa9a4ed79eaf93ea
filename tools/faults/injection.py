"""Faults, brought about in the running system and healed, and how long it takes to be ready again after that.

A fault takes as long as it takes: an orderly stop of a server lasts some seconds, and what needs a server that is
down or frozen waits for it, at most a minute. So every fault needs a task of its own. Two faults of the same part or
of the same link must not overlap; a part and its links may break together.
"""

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from tools.faults import servers
from tools.faults.plan import PARTS, Fault, Kind
from tools.faults.proxy import Proxy
from tools.faults.record import Record
from tools.faults.servers import Database
from tools.faults.system import Part, System
from tools.stack.rabbitmq import WATERMARK, RabbitMQ

REPEAT_SECONDS = 0.2
LAG_SECONDS = 0.3
NO_MEMORY = "0"
# The promise: within this many seconds, and without a restart.
READY_SECONDS = 15.0
# A round in which the system does not become ready goes on after so many.
_GIVE_UP_SECONDS = 20.0
_POLL_SECONDS = 0.1

Step: TypeAlias = Callable[[], Awaitable[object] | None]
Steps: TypeAlias = tuple[Step, Step]
"""What breaks a part, or what is in it, and what heals it."""


@dataclass(slots=True)
class Outages:
    """The faults of one round, as they really were."""

    recovery: dict[Fault, float] = field(default_factory=dict)
    """Seconds from the end of the last of the faults that overlapped until every service was ready."""
    still_failing: str = ""
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
                self.still_failing = ", ".join(f"{name}: {lack}" for name, lack in lacking.items())
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
        disable, heal = _steps(system, fault)
        await _take(disable)
        try:
            yield
        finally:
            await _take(heal)


async def _take(step: Step) -> None:
    if (work := step()) is not None:
        await work


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


def _steps(system: System, fault: Fault) -> Steps:
    if of_part := _OF_PARTS.get(fault.kind):
        return of_part(system.parts[fault.target])
    if of_database := _OF_DATABASES.get(fault.kind):
        return of_database(system.databases[fault.target])
    if of_broker := _OF_BROKER.get(fault.kind):
        return of_broker(system.rabbitmq, fault.target)
    if database := system.databases.get(fault.target):
        return partial(database.clock.jump, fault.size), partial(database.clock.jump, 0)
    jump = partial(servers.jump_redis, system.redises[fault.target].url)
    return partial(jump, fault.size), partial(jump, -fault.size)


def _refused(refuse: Callable[..., Awaitable[None]]) -> Steps:
    return partial(refuse, refuse=True), partial(refuse, refuse=False)


def _nothing() -> None:
    """Whoever finds it missing declares it again."""


_OF_PARTS: Mapping[Kind, Callable[[Part], Steps]] = {
    Kind.KILL: lambda part: (part.kill, part.start),
    Kind.TERMINATE: lambda part: (part.stop, part.start),
    Kind.FREEZE: lambda part: (part.daemon.pause, part.daemon.resume),
}
_OF_DATABASES: Mapping[Kind, Callable[[Database], Steps]] = {
    Kind.READ_ONLY: lambda database: _refused(database.refuse_writes),
    Kind.DISK_FULL: lambda database: _refused(database.refuse_rows),
    Kind.REFUSE: lambda database: _refused(database.refuse_connections),
    Kind.RESTORE: lambda database: (database.dump, database.restore),
    Kind.LOCK: lambda database: (database.lock, database.unlock),
}
_OF_BROKER: Mapping[Kind, Callable[[RabbitMQ, str], Steps]] = {
    Kind.DELETE_QUEUE: lambda broker, queue: (partial(servers.delete_queues, broker.url, queue), _nothing),
    Kind.DELETE_BINDING: lambda broker, queue: (partial(servers.delete_bindings, broker.url, queue), _nothing),
    Kind.DELETE_DEAD: lambda broker, queue: (partial(servers.delete_dead, broker.url, queue), _nothing),
    Kind.ALARM: lambda broker, _: (
        partial(servers.allow_memory, broker, NO_MEMORY),
        partial(servers.allow_memory, broker, WATERMARK),
    ),
}
