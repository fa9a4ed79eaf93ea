"""One round: clients and faults at once, then everything is healed, and what is there is judged."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ops.errors import OpsError
from tools.faults import client, state
from tools.faults.difference import Breach, Difference
from tools.faults.evidence import Evidence
from tools.faults.outage import READY_SECONDS, Outages
from tools.faults.plan import DATABASES, REDISES, SERVICES, Kind, Plan
from tools.faults.record import Record
from tools.faults.state import Places
from tools.faults.story import story
from tools.faults.system import System
from tools.faults.verdict import judge

# For all that is under way to come to its end once everything works.
SETTLE_SECONDS = 40.0
_POLL_SECONDS = 0.2
# The broker's statistics are made every five.
_COUNTED_SECONDS = 6.0
# The sweeper must not hide a loss. Only what was in a deleted queue is lost for good, and it has to mend that: it
# looks four times in those seconds.
_NEVER_SECONDS, _SOON_SECONDS = 600, 4
_MENDED_SECONDS = _SOON_SECONDS * 1.25 + 1
# Of one breach each: what broke one promise breaks it many times.
_STORIES = 3


@dataclass(slots=True)
class Round:
    """What came of a plan. `stories` tell of the first differences."""

    plan: Plan
    record: Record = field(default_factory=Record)
    outages: Outages = field(default_factory=Outages)
    differences: list[Difference] = field(default_factory=list)
    stories: list[str] = field(default_factory=list)


async def play(system: System, plan: Plan, source: Path, *, settle: float = SETTLE_SECONDS) -> Round:
    """With services of the code in `source`. StackError if the system cannot be started or broken as planned."""
    played = Round(plan)
    loses = any(fault.kind is Kind.DELETE_QUEUE for fault in plan.faults)
    await system.begin(source, stuck_order_seconds=_SOON_SECONDS if loses else _NEVER_SECONDS)
    await client.create_products(plan, system.url, played.record)
    started = time.monotonic()
    await asyncio.gather(
        client.drive(plan, system.url, played.record, started=started),
        played.outages.cause(system, plan, started),
    )
    played.record.broken.update(played.outages.lasted)
    places = places_of(system)
    if loses:
        await asyncio.sleep(_MENDED_SECONDS)
    await _settle(places, settle)
    found = await state.read(places)
    differences = judge(plan, played.record, found)
    if differences:
        # Twice: the broker's count of what is delivered and not acknowledged is some seconds old.
        await asyncio.sleep(_COUNTED_SECONDS)
        found = await state.read(places)
        again = judge(plan, played.record, found)
        differences = [difference for difference in differences if difference in again]
    await system.end()
    played.differences = [*differences, *_own_findings(system, played.outages)]
    system.complaints.clear()
    played.stories = await _stories(played, Evidence(plan, played.record, found), places)
    return played


def places_of(system: System) -> Places:
    return Places(
        databases={name: system.database_url(name) for name in DATABASES},
        redises={name: system.redis_url(name) for name in REDISES},
        replicas={name: system.service_url(name) for name in SERVICES if name != "gateway"},
        amqp_url=system.amqp_url,
        broker_ui_url=system.broker_ui_url,
        logs=[system.log_folder / f"{name}.log" for name in SERVICES],
    )


async def _settle(places: Places, seconds: float) -> None:
    """For at most so long; what is not settled by then shows in the verdict."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not await state.settled(places):  # noqa: ASYNC110  # nothing tells when
        await asyncio.sleep(_POLL_SECONDS)


def _own_findings(system: System, outages: Outages) -> Iterator[Difference]:
    for complaint in system.complaints:
        yield Difference(Breach.PROCESS, complaint)
    for fault, seconds in outages.recovery.items():
        if seconds > READY_SECONDS:
            text = f"{seconds:.1f} s after {fault} was healed {outages.last_words or 'the last service was ready'}"
            yield Difference(Breach.READINESS, text)


async def _stories(played: Round, evidence: Evidence, places: Places) -> list[str]:
    told = {found.kind: found for found in reversed(played.differences) if found.trace_id or found.order_id}
    try:
        return [await story(difference, evidence, places) for difference in list(told.values())[:_STORIES]]
    except OpsError as error:
        return [f"its story cannot be told: {error}"]
