"""Plans are drawn from their seed alone, break everything in every way, and let clients do what can be judged."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.faults.plan import BROKER, DATABASES, LINKS, PARTS, QUEUES, REDISES, Kind, Plan
from tools.faults.scenario import draw

ROOT = Path(__file__).parents[3]

SEEDS = st.integers(0, 10_000)
KINDS = st.sets(st.sampled_from(Kind))
PLANS = st.builds(draw, SEEDS, st.floats(1, 60), KINDS, rate=st.floats(1, 20))

TARGETS: dict[Kind, Collection[str]] = {
    **dict.fromkeys((Kind.KILL, Kind.TERMINATE, Kind.FREEZE), PARTS),
    **dict.fromkeys((Kind.RESET, Kind.CUT, Kind.STALL, Kind.MUTE, Kind.LAG), LINKS),
    Kind.CUT_ANSWER: [link for link in LINKS if link.endswith("-db")],
    **dict.fromkeys((Kind.READ_ONLY, Kind.DISK_FULL, Kind.LOCK, Kind.REFUSE, Kind.RESTORE), DATABASES),
    Kind.SPOIL: REDISES,
    Kind.ALARM: (BROKER,),
    **dict.fromkeys((Kind.DELETE_QUEUE, Kind.DELETE_BINDING, Kind.DELETE_DEAD), QUEUES),
    Kind.CLOCK: (*DATABASES, *REDISES),
}


def digest(plan: Plan) -> str:
    return hashlib.sha256(repr(plan).encode()).hexdigest()


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_every_process_draws_the_same_plan_from_a_seed(hash_seed: str) -> None:
    program = (
        "from tests.unit.faults.test_scenario import digest; from tools.faults.scenario import draw;"
        "print(digest(draw(7, 60)))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    found = subprocess.run(  # noqa: S603  # the command is built from constants
        [sys.executable, "-c", program], check=True, capture_output=True, cwd=ROOT, env=environment, text=True
    )
    assert found.stdout.strip() == digest(draw(7, 60)) != digest(draw(8, 60))


@given(SEEDS, KINDS)
def test_what_is_broken_does_not_change_what_clients_do(seed: int, kinds: set[Kind]) -> None:
    every, some = draw(seed, 30, rate=10), draw(seed, 30, kinds, rate=10)
    assert (every.products, every.operations) == (some.products, some.operations)
    assert {each.kind for each in some.faults} <= kinds


@given(PLANS)
def test_everything_happens_in_its_order_and_is_healed_when_the_round_ends(plan: Plan) -> None:
    for times in ([each.at for each in plan.operations], [each.at for each in plan.faults]):
        assert times == sorted(times)
        assert all(0 <= at <= plan.seconds for at in times)
    assert all(each.seconds > 0 and each.at + each.seconds <= plan.seconds for each in plan.faults)


def test_plans_break_everything_in_every_way() -> None:
    plans = [draw(seed, 60, rate=1) for seed in range(300)]
    found = {(each.kind, each.target) for plan in plans for each in plan.faults}
    assert found == {(kind, target) for kind, targets in TARGETS.items() for target in targets}
    assert all((600 <= abs(each.size) <= 7200) == (each.kind is Kind.CLOCK) for plan in plans for each in plan.faults)


@given(SEEDS)
def test_what_is_repeated_has_a_key_of_its_own_and_cannot_be_refused(seed: int) -> None:
    operations = draw(seed, 30).operations
    later = [each for each in operations if each.of >= 0]
    assert all(operations[each.of].action == "order" for each in later)
    assert all(operations[each.of].hold for each in later if each.action != "cancel")
    extended = [each.of for each in later if each.action == "extend"]
    assert len(extended) == len(set(extended))
    references = [each.reference for each in operations if each.reference]
    assert len(references) == len(set(references))
    keys = [each.key for each in operations if each.key]
    assert len(keys) == len(set(keys))
    assert all(each.key for each in operations if each.again)
    assert all(each.amount > 0 for each in operations if each.again and each.action == "adjust")


def test_orders_have_up_to_five_products_each_once_and_some_are_held_named_and_priced() -> None:
    orders = [each for each in draw(1, 60).operations if each.action == "order"]
    assert {len(each.lines) for each in orders} == {1, 2, 3, 4, 5}
    assert all(len(dict(each.lines)) == len(each.lines) and all(dict(each.lines).values()) for each in orders)
    assert {each.hold for each in orders} == {0, 1, 2, 3}
    assert {each.priced for each in orders} == {False, True}
    assert any(each.reference and not each.key for each in orders)


@pytest.mark.parametrize("seed", range(3))
def test_scarce_products_are_sold_out_and_filled_again_and_a_price_is_set_once(seed: int) -> None:
    plan = draw(seed, 60)
    for index in range(4, 7):
        orders = [dict(each.lines) for each in plan.operations if each.action == "order"]
        wanted = sum(lines.get(index, 0) for lines in orders)
        filled = [each.amount for each in plan.operations if (each.action, each.product) == ("adjust", index)]
        assert plan.products[index].qty + sum(filled) < wanted
        assert max(filled) > 0 > min(filled)
    prices = [each.price for each in plan.operations if each.action == "reprice"]
    assert len(prices) == len({*prices} - {product.price for product in plan.products})
