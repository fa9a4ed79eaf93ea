"""One round: clients and faults at once, then everything is healed, and what is left behind is judged."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from redis.exceptions import RedisError

from ops.errors import OpsError
from tools.faults import state
from tools.faults.client import PATIENCE, clients
from tools.faults.evidence import Breach, Difference
from tools.faults.injection import READY_SECONDS, Outages
from tools.faults.plan import Fault, Kind, Plan
from tools.faults.record import Record
from tools.faults.repair import repaired
from tools.faults.state import Access, State
from tools.faults.system import System
from tools.faults.verdict import Rules, judge
from tools.stack import logs

# The time in which all that is in flight has to come to its end once everything works.
SETTLE_SECONDS = 40.0
_POLL_SECONDS = 0.2
# The broker counts unacknowledged messages every five seconds.
_COUNTED_SECONDS = 6.0
# The sweeper must not hide a loss. Only the events of a deleted queue are lost for good, and it has to make up for
# them: it looks four times in those seconds.
_NEVER_SECONDS, _SOON_SECONDS = 600, 4
_MENDED_SECONDS = _SOON_SECONDS * 1.25 + 1
_STORIES = 3


@dataclass(slots=True)
class Round:
    """A plan and its results. `stories` has the log lines that belong to the first difference of some kinds."""

    plan: Plan
    record: Record
    outages: Outages = field(default_factory=Outages)
    differences: list[Difference] = field(default_factory=list)
    stories: dict[Difference, list[str]] = field(default_factory=dict)


async def play(system: System, plan: Plan, *, mutation: str | None = None, settle: float = SETTLE_SECONDS) -> Round:
    """Waits at most `settle` seconds for what is in flight in the end, and clients repeat no longer than that.

    Raises StackError if the system cannot be started or broken as planned.
    """
    played = Round(plan, Record(plan))
    loses = any(fault.kind is Kind.DELETE_QUEUE for fault in plan.faults)
    await system.begin(stuck_order_seconds=_SOON_SECONDS if loses else _NEVER_SECONDS, mutation=mutation)
    async with clients(system.url, played.record, min(PATIENCE, settle)) as driving:
        await driving.create_products()
        started, played.record.began = time.monotonic(), time.time()
        await asyncio.gather(driving.drive(started), played.outages.cause(system, played.record, started))
    if loses:
        await asyncio.sleep(_MENDED_SECONDS)
    unearned = [found for fault in plan.faults for found in await _repaired(system, fault, settle)]
    differences, _ = await judged(system.access, played.record, settle)
    await system.end()
    played.differences = [*unearned, *differences, *_own_findings(system, played.outages)]
    system.complaints.clear()
    of_kind = {found.kind: found for found in reversed(played.differences) if found.trace_id}
    for found in list(of_kind.values())[-_STORIES:]:
        played.stories[found] = [str(line) for line in logs.search(system.logs, {found.trace_id or ""})]
    return played


async def _repaired(system: System, fault: Fault, settle: float) -> list[Difference]:
    try:
        return (
            [found async for found in repaired(system.access, fault.target, settle)]
            if fault.kind is Kind.RESTORE
            else []
        )
    except (OSError, OpsError) as error:
        return [Difference(Breach.UNREADABLE, repr(error))]


async def judged(
    access: Access, record: Record, settle: float = SETTLE_SECONDS, rules: Rules | None = None
) -> tuple[list[Difference], State | None]:
    """What differs once nothing is in flight, or after `settle` seconds, and differs still when it is read again.

    With it comes the state that was read, None if it could not be.
    """
    differences, read = await _judged(access, record, settle, rules)
    if not differences:
        return [], read
    # The broker's count of unacknowledged messages is some seconds old.
    await asyncio.sleep(min(settle, _COUNTED_SECONDS))
    first = {difference.key for difference in differences}
    again, read_again = await _judged(access, record, 0.0, rules)
    return [difference for difference in again if difference.key in first or not read], read_again


async def _judged(
    access: Access, record: Record, settle: float, rules: Rules | None
) -> tuple[list[Difference], State | None]:
    with suppress(TimeoutError):  # what has not settled by now shows in the verdict
        async with asyncio.timeout(settle):
            while not await _settled(access):  # noqa: ASYNC110  # nothing announces it
                await asyncio.sleep(_POLL_SECONDS)
    try:
        read = await state.read(access)
    except (OSError, OpsError, RedisError) as error:
        return [Difference(Breach.UNREADABLE, repr(error))], None
    return judge(record, read, rules), read


async def _settled(access: Access) -> bool:
    try:
        return await state.settled(access)
    except (OSError, OpsError):
        return False  # what cannot be read for good shows in the verdict too


def _own_findings(system: System, outages: Outages) -> Iterator[Difference]:
    for complaint in system.complaints:
        yield Difference(Breach.PROCESS, complaint)
    for fault, seconds in outages.recovery.items():
        if seconds > READY_SECONDS:
            text = f"{seconds:.1f} s after {fault} was healed {outages.still_failing or 'the last service was ready'}"
            yield Difference(Breach.READINESS, text)
