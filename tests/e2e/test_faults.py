"""The short run of `make faults`, and the plans of its mutations with every guard in its place."""

from collections.abc import AsyncIterator

import pytest

from tools.faults import scenario
from tools.faults.mutations import MUTATIONS, Mutation
from tools.faults.plan import Kind
from tools.faults.report import story
from tools.faults.round import play
from tools.faults.system import System

pytestmark = pytest.mark.timeout(120)

SEED = 1
SECONDS = 15.0


@pytest.fixture(scope="module")
async def system() -> AsyncIterator[System]:
    """A system on servers of its own, since they are broken."""
    async with System(print) as system:
        yield system


async def test_nothing_is_lost_doubled_or_oversold(system: System) -> None:
    plan = scenario.draw(SEED, SECONDS, set(Kind) if system.can_jump else set(Kind) - {Kind.CLOCK})

    played = await play(system, plan)

    assert plan.faults
    assert played.differences == [], story(played)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
async def test_with_the_guard_the_same_plan_is_kept(system: System, mutation: Mutation) -> None:
    played = await play(system, mutation.plan)

    assert played.differences == [], story(played)
