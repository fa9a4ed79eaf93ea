"""The short run of `make faults`, and the proof that it would find something."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tools.faults import scenario
from tools.faults.mutations import MUTATIONS, Mutation
from tools.faults.plan import Kind
from tools.faults.report import story
from tools.faults.round import play
from tools.faults.system import System, new_folder
from tools.stack.services import ROOT

pytestmark = pytest.mark.timeout(120)

SOURCE = ROOT / "src"
# Together they break every sort of part, in nine ways out of thirteen.
SEEDS = (1, 2, 3)
SECONDS = 15.0
# How long a mutant that loses something is given to find it again.
GIVE_UP = 6.0


@pytest.fixture(scope="module")
async def system() -> AsyncIterator[System]:
    """On servers of its own, since they are broken."""
    async with System(new_folder(), print) as system:
        yield system


@pytest.mark.parametrize("seed", SEEDS)
async def test_nothing_is_lost_doubled_or_oversold(system: System, seed: int) -> None:
    plan = scenario.draw(seed, SECONDS, set(Kind) if system.can_jump else set(Kind) - {Kind.CLOCK})

    played = await play(system, plan, SOURCE)

    assert plan.faults
    assert played.differences == [], story(played)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
async def test_a_missing_guard_is_noticed(system: System, mutation: Mutation, tmp_path: Path) -> None:
    source = mutation.apply(SOURCE, tmp_path)

    played = await play(system, mutation.plan, source, settle=GIVE_UP)

    assert played.differences != []


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
async def test_with_the_guard_the_same_plan_is_kept(system: System, mutation: Mutation) -> None:
    played = await play(system, mutation.plan, SOURCE)

    assert played.differences == [], story(played)
