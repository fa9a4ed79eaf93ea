"""Faults, brought about in the running system and healed.

A fault takes as long as it takes: an orderly stop of a server lasts some seconds, and what needs a server that is
down or frozen waits for it, at most a minute. So every fault needs a task of its own. Two faults of the same part or
of the same link must not overlap; a part and its links may break together.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tools.faults import servers
from tools.faults.plan import Fault, Kind
from tools.faults.proxy import Proxy
from tools.faults.system import System
from tools.stack.rabbitmq import WATERMARK

RESET_SECONDS = 0.2
LAG_SECONDS = 0.3
NO_MEMORY = "0"


@asynccontextmanager
async def broken(system: System, fault: Fault) -> AsyncIterator[None]:
    """The part is broken inside and healed at the end: it runs again, but is perhaps not ready yet.

    Raises StackError if it cannot be broken or healed.
    """
    if link := system.links.get(fault.target):
        disturbing = asyncio.create_task(_disturb(link, fault), name=str(fault))
        try:
            yield
        finally:
            disturbing.cancel()
            await link.heal()
    else:
        await _break(system, fault)
        yield
        await _heal(system, fault)


async def _disturb(link: Proxy, fault: Fault) -> None:
    match fault.kind:
        case Kind.RESET:
            while True:
                link.reset()
                await asyncio.sleep(RESET_SECONDS)
        case Kind.CUT:
            link.cut()
        case Kind.STALL:
            link.stall()
        case Kind.MUTE:
            link.mute()
        case _:
            link.lag(fault.size or LAG_SECONDS)


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
        case _:
            await _spoil(system, fault, begins=True)


async def _heal(system: System, fault: Fault) -> None:
    match fault.kind:
        case Kind.KILL | Kind.TERMINATE:
            await system.parts[fault.target].start()
        case Kind.FREEZE:
            system.parts[fault.target].daemon.resume()
        case Kind.DELETE_QUEUE:
            pass  # its consumers declare it again
        case _:
            await _spoil(system, fault, begins=False)


async def _spoil(system: System, fault: Fault, *, begins: bool) -> None:
    match fault.kind:
        case Kind.READ_ONLY:
            await system.databases[fault.target].refuse_writes(refuse=begins)
        case Kind.DISK_FULL:
            await system.databases[fault.target].refuse_rows(refuse=begins)
        case Kind.ALARM:
            await servers.allow_memory(system.rabbitmq, NO_MEMORY if begins else WATERMARK)
        case _ if fault.target in system.databases:
            system.databases[fault.target].clock.jump(fault.size if begins else 0)
        case _:
            await servers.jump_redis(system.redises[fault.target].url, fault.size if begins else -fault.size)
