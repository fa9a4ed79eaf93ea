"""The proof that `make faults` would find something: with a guard taken away, it does."""

from collections.abc import AsyncIterator

import pytest

from tests.e2e import mutations
from tests.e2e.mutations import MUTATIONS, Mutation
from tools.faults.round import play
from tools.faults.system import System

# Seconds in which a mutant may find again what it has lost, before the first look and before the second one. Together
# they are more than the age of what the broker counts.
GIVE_UP = 3.0


@pytest.fixture(scope="module")
async def system() -> AsyncIterator[System]:
    """A system on servers of its own, since they are broken."""
    async with System(mutations.__name__) as system:
        yield system


@pytest.mark.timeout(480)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
async def test_a_missing_guard_is_noticed(system: System, mutation: Mutation) -> None:
    """In one of five rounds, because some guards matter only when two requests race."""
    for _ in range(5):
        played = await play(system, mutation.plan, mutation=mutation.name, settle=GIVE_UP)
        if played.differences:
            return
    pytest.fail(f"five rounds without {mutation.name} kept every promise")
