"""Faults, brought about in the running system and healed.

Each takes as long as it takes: a server's orderly stop some seconds, and what needs a server that is down or frozen
waits for it, at most a minute. So every fault wants a task of its own. What may not overlap are two faults of the same
part or of the same link; a part and its links may break together.
"""

import asyncio
import contextlib

from tools.faults import queues
from tools.faults.insistence import insist
from tools.faults.plan import Fault, Kind
from tools.faults.proxy import Proxy
from tools.faults.system import Part, System
from tools.stack.errors import StackError
from tools.stack.rabbitmq import WATERMARK

RESET_SECONDS = 0.2
LAG_SECONDS = 0.3
# Of the machine's memory: with none allowed, RabbitMQ raises its alarm at once.
NO_MEMORY = "0"


async def inject(system: System, fault: Fault) -> None:
    """Returns when the part is broken. StackError if it cannot be."""
    target = fault.target
    match fault.kind:
        case Kind.KILL | Kind.TERMINATE | Kind.FREEZE:
            await _strike(system.parts[target], fault.kind)
        case Kind.RESET:
            system.resets[fault] = asyncio.create_task(_keep_resetting(system.links[target]), name=str(fault))
        case Kind.CUT | Kind.STALL | Kind.MUTE | Kind.LAG:
            _disturb(system.links[target], fault)
        case Kind.READ_ONLY:
            await system.databases[target].refuse_writes(refuse=True)
        case Kind.DISK_FULL:
            await system.databases[target].refuse_rows(refuse=True)
        case Kind.ALARM:
            await _allow_memory(system, NO_MEMORY)
        case Kind.DELETE_QUEUE:
            await queues.delete(system.amqp_url, target)
        case Kind.CLOCK:
            await system.jump(target, fault.size)


async def heal(system: System, fault: Fault) -> None:
    """Returns when the part is as before; what stopped runs again, but is perhaps not ready yet."""
    target = fault.target
    match fault.kind:
        case Kind.KILL | Kind.TERMINATE:
            await system.parts[target].start()
        case Kind.FREEZE:
            system.parts[target].daemon.resume()
        case Kind.RESET:
            await _stop_resetting(system.resets.pop(fault))
        case Kind.CUT | Kind.STALL | Kind.MUTE | Kind.LAG:
            system.links[target].heal()
        case Kind.READ_ONLY:
            await system.databases[target].refuse_writes(refuse=False)
        case Kind.DISK_FULL:
            await system.databases[target].refuse_rows(refuse=False)
        case Kind.ALARM:
            await _allow_memory(system, WATERMARK)
        case Kind.DELETE_QUEUE:
            pass  # whoever consumes it declares it again
        case Kind.CLOCK:
            await system.jump_back(target, fault.size)


async def _strike(part: Part, kind: Kind) -> None:
    match kind:
        case Kind.KILL:
            await part.kill()
        case Kind.TERMINATE:
            await part.stop()
        case _:
            part.daemon.pause()


def _disturb(link: Proxy, fault: Fault) -> None:
    match fault.kind:
        case Kind.CUT:
            link.cut()
        case Kind.STALL:
            link.stall()
        case Kind.MUTE:
            link.mute()
        case _:
            link.lag(fault.size or LAG_SECONDS)


async def _keep_resetting(link: Proxy) -> None:
    while True:
        link.reset()
        await asyncio.sleep(RESET_SECONDS)


async def _stop_resetting(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _allow_memory(system: System, share: str) -> None:
    async def attempt() -> None:
        await system.rabbitmq.control("set_vm_memory_high_watermark", share)

    await insist("the memory alarm", attempt, StackError)
