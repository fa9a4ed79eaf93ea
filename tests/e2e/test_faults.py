"""The short run of `make faults`, and the plans of its mutations with every guard in its place."""

from collections.abc import AsyncIterator, Collection
from dataclasses import replace

import pytest

from tests.e2e.mutations import MUTATIONS
from tools.faults import scenario
from tools.faults.plan import Kind, Plan
from tools.faults.report import story
from tools.faults.round import play
from tools.faults.system import System

pytestmark = pytest.mark.timeout(120)

SEED = 1
SECONDS = 15.0
# Clients ask for what only repair can decide for as long as they are patient; so much is enough for anything else.
PATIENT = 15.0
# The plans of these are one round, since none breaks what another one does. What loses a part of a database is judged
# by less, and a lock only where nothing else is broken: they are rounds of their own, as are other operations.
TOGETHER = {
    "links": {
        *("publish before commit", "an order reserved line by line", "no inbox"),
        *("GREATEST(qty - n, 0)", "a confirmed order expires"),
    },
    "parts": {"ack before commit", "outbox row deleted before the confirm", "a cache is believed"},
    "silence": {"a silent broker ends what waits for it", "an unknown outcome is called a failure"},
    "refusals": {
        *("a deleted binding stays away", "a deleted dead-letter queue stays away"),
        "an unknown error blames the event",
    },
    "races": {"no lease"},
    "locks": {"a locked row holds up all orders"},
    "losses": {"a reservation answers for its number", "a verdict is on its number"},
}


@pytest.fixture(scope="module")
async def system() -> AsyncIterator[System]:
    """A system on servers of its own, since they are broken."""
    async with System() as system:
        yield system


def plan_of(names: Collection[str]) -> Plan:
    """The longest plan of these mutations, with the faults of all."""
    plans = [mutation.plan for mutation in MUTATIONS if mutation.name in names]
    faults = {fault for plan in plans for fault in plan.faults}
    return replace(max(plans, key=lambda plan: plan.seconds), faults=tuple(sorted(faults, key=lambda fault: fault.at)))


async def test_nothing_is_lost_doubled_or_oversold(system: System) -> None:
    plan = scenario.draw(SEED, SECONDS, set(Kind) if system.can_jump else set(Kind) - {Kind.CLOCK})

    played = await play(system, plan)

    assert plan.faults
    assert played.differences == [], story(played)


def test_the_plan_of_every_mutation_is_played() -> None:
    assert sorted(name for names in TOGETHER.values() for name in names) == sorted(each.name for each in MUTATIONS)


@pytest.mark.parametrize("names", TOGETHER.values(), ids=TOGETHER)
async def test_with_the_guards_the_same_plans_are_kept(system: System, names: set[str]) -> None:
    played = await play(system, plan_of(names), settle=PATIENT)

    assert played.differences == [], story(played)
