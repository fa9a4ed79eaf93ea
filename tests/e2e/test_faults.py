"""The short run of `make faults`, and the proof that it would find something."""

from collections.abc import AsyncIterator

import pytest

from tools.faults import scenario
from tools.faults.mutations import MUTATIONS, Mutation
from tools.faults.plan import Kind
from tools.faults.report import story
from tools.faults.round import play
from tools.faults.system import System

pytestmark = pytest.mark.timeout(120)

SEEDS = (1, 2, 3)
SECONDS = 15.0
# Seconds in which a mutant may find again what it has lost.
GIVE_UP = 6.0


@pytest.fixture(scope="module")
async def system() -> AsyncIterator[System]:
    """A system on servers of its own, since they are broken."""
    async with System(print) as system:
        yield system


@pytest.mark.parametrize("seed", SEEDS)
async def test_nothing_is_lost_doubled_or_oversold(system: System, seed: int) -> None:
    plan = scenario.draw(seed, SECONDS, set(Kind) if system.can_jump else set(Kind) - {Kind.CLOCK})

    played = await play(system, plan)

    assert plan.faults
    assert played.differences == [], story(played)


@pytest.mark.timeout(480)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
async def test_a_missing_guard_is_noticed(system: System, mutation: Mutation) -> None:
    """In one of five rounds, because some guards matter only when two requests race."""
    for _ in range(5):
        played = await play(system, mutation.plan, mutation=mutation.name, settle=GIVE_UP)
        if played.differences:
            return
    pytest.fail(f"five rounds without {mutation.name} kept every promise")


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
async def test_with_the_guard_the_same_plan_is_kept(system: System, mutation: Mutation) -> None:
    played = await play(system, mutation.plan)

    assert played.differences == [], story(played)
