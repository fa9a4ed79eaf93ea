"""Faults, brought about in the running system and healed.

A fault takes as long as it takes: an orderly stop of a server lasts some seconds, and what needs a server that is
down or frozen waits for it, at most a minute. So every fault needs a task of its own. Two faults of the same part or
of the same link must not overlap; a part and its links may break together.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from tools.faults import servers
from tools.faults.plan import Fault, Kind
from tools.faults.proxy import Proxy
from tools.faults.system import Part, System
from tools.stack.rabbitmq import WATERMARK

RESET_SECONDS = 0.2
LAG_SECONDS = 0.3
NO_MEMORY = "0"


def broken(system: System, fault: Fault) -> AbstractAsyncContextManager[None]:
    """The part is broken inside and healed at the end: it runs again, but is perhaps not ready yet.

    Raises StackError if it cannot be broken or healed.
    """
    if fault.target in system.links:
        return _disturbed(system.links[fault.target], fault)
    if fault.kind in {Kind.KILL, Kind.TERMINATE, Kind.FREEZE}:
        return _stopped(system.parts[fault.target], fault.kind)
    return _spoilt(system, fault.kind, fault.target, fault.size)


@asynccontextmanager
async def _stopped(part: Part, kind: Kind) -> AsyncIterator[None]:
    if kind is Kind.FREEZE:
        part.daemon.pause()
        yield
        part.daemon.resume()
    else:
        await (part.kill() if kind is Kind.KILL else part.stop())
        yield
        await part.start()


@asynccontextmanager
async def _disturbed(link: Proxy, fault: Fault) -> AsyncIterator[None]:
    resetting = None
    match fault.kind:
        case Kind.RESET:
            resetting = asyncio.create_task(_keep_resetting(link), name=str(fault))
        case Kind.CUT:
            link.cut()
        case Kind.STALL:
            link.stall()
        case Kind.MUTE:
            link.mute()
        case _:
            link.lag(fault.size or LAG_SECONDS)
    try:
        yield
    finally:
        if resetting:
            resetting.cancel()
        else:
            await link.heal()


async def _keep_resetting(link: Proxy) -> None:
    while True:
        link.reset()
        await asyncio.sleep(RESET_SECONDS)


@asynccontextmanager
async def _spoilt(system: System, kind: Kind, target: str, size: float) -> AsyncIterator[None]:
    match kind:
        case Kind.READ_ONLY:
            await system.databases[target].refuse_writes(refuse=True)
            yield
            await system.databases[target].refuse_writes(refuse=False)
        case Kind.DISK_FULL:
            await system.databases[target].refuse_rows(refuse=True)
            yield
            await system.databases[target].refuse_rows(refuse=False)
        case Kind.ALARM:
            await servers.allow_memory(system.rabbitmq, NO_MEMORY)
            yield
            await servers.allow_memory(system.rabbitmq, WATERMARK)
        case Kind.DELETE_QUEUE:
            await servers.delete_queues(system.rabbitmq.url, target)
            yield  # its consumers declare it again
        case _ if target in system.databases:
            system.databases[target].clock.jump(size)
            yield
            system.databases[target].clock.jump(0)
        case _:
            await servers.jump_redis(system.redises[target].url, size)
            yield
            await servers.jump_redis(system.redises[target].url, -size)
