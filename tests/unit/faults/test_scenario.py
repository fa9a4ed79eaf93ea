"""Plans are drawn from their seed alone, and what they break can be broken together."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Collection
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.faults.plan import BROKER, DATABASES, LINKS, PARTS, QUEUES, REDISES, Fault, Kind, Operation, Plan
from tools.faults.scenario import collide, describe, draw

ROOT = Path(__file__).parents[3]

SEEDS = st.integers(0, 10_000)
KINDS = st.sets(st.sampled_from(Kind))
PLANS = st.builds(draw, SEEDS, st.floats(1, 60), KINDS, rate=st.floats(1, 20))

TARGETS: dict[Kind, Collection[str]] = {
    **dict.fromkeys((Kind.KILL, Kind.TERMINATE, Kind.FREEZE), PARTS),
    **dict.fromkeys((Kind.RESET, Kind.CUT, Kind.STALL, Kind.MUTE, Kind.LAG), LINKS),
    **dict.fromkeys((Kind.READ_ONLY, Kind.DISK_FULL), DATABASES),
    Kind.ALARM: (BROKER,),
    Kind.DELETE_QUEUE: QUEUES,
    Kind.CLOCK: (*DATABASES, *REDISES),
}


def of(plan: Plan, action: str) -> list[Operation]:
    return [operation for operation in plan.operations if operation.action == action]


def fault(kind: Kind, target: str, at: float = 0.0, seconds: float = 2.0) -> Fault:
    return Fault(at, seconds, kind, target)


def digest(plan: Plan) -> str:
    return hashlib.sha256(repr(plan).encode()).hexdigest()


@given(SEEDS, st.floats(1, 60), st.permutations([*Kind]), st.floats(1, 20))
def test_the_same_arguments_give_the_same_plan(seed: int, seconds: float, kinds: list[Kind], rate: float) -> None:
    assert draw(seed, seconds, rate=rate) == draw(seed, seconds, kinds, rate=rate)


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_every_process_draws_the_same_plan(hash_seed: str) -> None:
    program = (
        "from tests.unit.faults.test_scenario import digest; from tools.faults.scenario import draw;"
        "print(digest(draw(7, 60)))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    found = subprocess.run(  # noqa: S603  # the command is built from constants
        [sys.executable, "-c", program], check=True, capture_output=True, cwd=ROOT, env=environment, text=True
    )
    assert found.stdout.strip() == digest(draw(7, 60))


def test_each_seed_has_a_plan_of_its_own() -> None:
    plans = {draw(seed, 10, rate=10).operations for seed in range(50)}
    assert len(plans) == 50


@given(SEEDS, KINDS, st.integers(0, 5))
def test_what_is_broken_does_not_change_what_clients_do(seed: int, kinds: set[Kind], most: int) -> None:
    every, some = draw(seed, 30, rate=10), draw(seed, 30, kinds, faults=most, rate=10)
    assert (every.products, every.operations) == (some.products, some.operations)


@given(PLANS)
def test_operations_and_faults_are_in_the_order_of_their_times(plan: Plan) -> None:
    for times in ([each.at for each in plan.operations], [each.at for each in plan.faults]):
        assert times == sorted(times)
        assert all(0 <= at <= plan.seconds for at in times)


@given(PLANS)
def test_everything_is_healed_when_the_round_ends(plan: Plan) -> None:
    assert all(each.seconds > 0 and each.at + each.seconds <= plan.seconds for each in plan.faults)


@given(PLANS)
def test_no_two_faults_collide(plan: Plan) -> None:
    assert not [pair for pair in combinations(plan.faults, 2) if collide(*pair)]


@given(PLANS)
def test_a_fault_has_a_target_of_its_kind(plan: Plan) -> None:
    assert all(each.target in TARGETS[each.kind] for each in plan.faults)
    assert all((600 <= abs(each.size) <= 7200) == (each.kind is Kind.CLOCK) for each in plan.faults)


@given(SEEDS, KINDS, st.integers(0, 5))
def test_no_more_and_no_other_faults_than_asked_for(seed: int, kinds: set[Kind], most: int) -> None:
    unlimited, limited = draw(seed, 60, kinds, rate=1).faults, draw(seed, 60, kinds, faults=most, rate=1).faults
    assert limited == unlimited[:most]
    assert {each.kind for each in unlimited} <= kinds
    assert bool(unlimited) == bool(kinds)


def test_thirty_plans_of_a_minute_break_everything_in_every_way() -> None:
    for first in range(0, 300, 30):
        faults = [each for seed in range(first, first + 30) for each in draw(seed, 60, rate=1).faults]
        assert {each.kind for each in faults} == set(Kind)
    found = {(each.kind, each.target) for seed in range(300) for each in draw(seed, 60, rate=1).faults}
    assert found == {(kind, target) for kind, targets in TARGETS.items() for target in targets}


def test_a_third_of_the_time_one_thing_is_broken_and_at_times_three() -> None:
    moments: Counter[int] = Counter()
    for seed in range(100):
        faults = draw(seed, 60, rate=1).faults
        moments.update(sum(each.at <= at < each.at + each.seconds for each in faults) for at in range(60))
    shares = {count: moments[count] / moments.total() for count in range(4)}
    assert shares[0] > 0.4
    assert 0.25 < shares[1] < 0.45
    assert shares[2] > 0.05
    assert shares[3] > 0.01


def test_the_rest_between_faults_is_long_enough_to_see_the_recovery() -> None:
    for seed in range(100):
        plan = draw(seed, 60, rate=1)
        over = 0.0
        for each in plan.faults:
            assert each.at < over + 1.0 or each.at >= over + 1.99  # times are rounded
            over = max(over, each.at + each.seconds)


@given(PLANS)
def test_a_cancel_names_an_earlier_order_of_its_product(plan: Plan) -> None:
    for index, operation in enumerate(plan.operations):
        if operation.action == "cancel":
            order = plan.operations[operation.of]
            assert operation.of < index
            assert (order.action, order.product) == ("order", operation.product)
        else:
            assert operation.of == -1


@given(PLANS)
def test_operations_can_be_asked_for(plan: Plan) -> None:
    for operation in plan.operations:
        product = plan.products[operation.product]
        match operation.action:
            case "order":
                assert 1 <= operation.amount <= (5 if product.qty == 1_000_000 else 10)
            case "adjust":
                assert operation.amount != 0
                assert operation.key
            case "reprice":
                assert operation.product == 0
        assert operation.again == 0 or operation.key
        assert not operation.key or operation.action in {"order", "adjust"}


def test_no_two_operations_have_the_same_key_and_no_two_prices_are_alike() -> None:
    plans = [draw(seed, 20) for seed in range(20)]
    keys = [each.key for plan in plans for each in plan.operations if each.key]
    assert len(keys) == len(set(keys))
    for plan in plans:
        prices = [each.price for each in plan.operations if each.action == "reprice"]
        assert len(prices) == len({*prices} - {product.price for product in plan.products})


@given(SEEDS)
def test_only_what_cannot_be_refused_is_sent_again(seed: int) -> None:
    sent_again = [each for each in draw(seed, 30).operations if each.again and each.action == "adjust"]
    assert all(each.amount > 0 for each in sent_again)


@pytest.mark.parametrize("seed", range(5))
def test_the_shares_of_the_actions(seed: int) -> None:
    plan = draw(seed, 120)
    counts = Counter(operation.action for operation in plan.operations)
    shares = {action: round(count / counts.total() * 100) for action, count in counts.items()}
    expected = {"order": 63, "cancel": 8, "adjust": 7, "reprice": 5, "read": 10, "list": 8}
    assert shares == {action: pytest.approx(share, abs=3) for action, share in expected.items()}
    assert len(plan.operations) == pytest.approx(120 * 60, rel=0.1)
    orders = of(plan, "order")
    assert sum(bool(order.key) for order in orders) / len(orders) == pytest.approx(2 / 3, abs=0.04)
    assert {order.again for order in orders} == {0, 1, 2}


@pytest.mark.parametrize("seed", range(5))
def test_cancels_race_with_their_orders_or_come_much_later(seed: int) -> None:
    plan = draw(seed, 60)
    waits = [cancel.at - plan.operations[cancel.of].at for cancel in of(plan, "cancel")]
    assert sum(wait == 0 for wait in waits) > 50
    assert sum(wait > 5 for wait in waits) > 50


@pytest.mark.parametrize("seed", range(5))
def test_scarce_products_are_sold_out_and_filled_again(seed: int) -> None:
    """What is there at first and what comes later are less than what orders want."""
    plan = draw(seed, 60)
    scarce = {index for index, product in enumerate(plan.products) if product.qty != 1_000_000}
    for index in scarce:
        wanted = sum(order.amount for order in of(plan, "order") if order.product == index)
        filled = [change.amount for change in of(plan, "adjust") if change.product == index]
        assert plan.products[index].qty + sum(filled) < wanted
        assert max(filled) > 0 > min(filled)
    assert len(scarce) == 3


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (fault(Kind.KILL, "orders-1"), fault(Kind.FREEZE, "orders-1", at=1.0), True),
        (fault(Kind.KILL, "orders-1"), fault(Kind.KILL, "orders-2"), False),
        (fault(Kind.KILL, "orders-1"), fault(Kind.CUT, "orders-1>orders-db"), False),
        (fault(Kind.CUT, "orders-1>orders-db"), fault(Kind.LAG, "orders-1>orders-db"), True),
        (fault(Kind.CUT, "orders-1>orders-db"), fault(Kind.CUT, "orders-2>orders-db"), False),
        (fault(Kind.CLOCK, "orders-db"), fault(Kind.KILL, "orders-db", at=1.9), True),
        (fault(Kind.CLOCK, "orders-db"), fault(Kind.KILL, "orders-db", at=2.0), False),
        (fault(Kind.READ_ONLY, "orders-db"), fault(Kind.DISK_FULL, "orders-db"), True),
        (fault(Kind.ALARM, "rabbitmq"), fault(Kind.DELETE_QUEUE, "orders.stock", at=1.0), True),
        (fault(Kind.DELETE_QUEUE, "orders.stock"), fault(Kind.DELETE_QUEUE, "products.orders"), True),
        (fault(Kind.ALARM, "rabbitmq"), fault(Kind.STALL, "orders-1>rabbitmq"), False),
    ],
)
def test_faults_collide_on_the_same_part_or_link_at_the_same_time(one: Fault, other: Fault, expected: bool) -> None:
    assert expected == collide(one, other) == collide(other, one)


def test_a_part_that_starts_again_is_left_alone() -> None:
    killed = fault(Kind.KILL, "orders-db")
    assert collide(killed, fault(Kind.CLOCK, "orders-db", at=3.9))
    assert not collide(killed, fault(Kind.CLOCK, "orders-db", at=4.0))
    stopped = fault(Kind.TERMINATE, "rabbitmq")
    assert collide(stopped, fault(Kind.DELETE_QUEUE, "orders.stock", at=11.9))
    assert not collide(stopped, fault(Kind.DELETE_QUEUE, "orders.stock", at=12.0))


def test_a_plan_is_told_in_lines() -> None:
    faults = (fault(Kind.KILL, "orders-db", at=3.0), Fault(12.04, 3.5, Kind.CLOCK, "orders-redis", -1200))
    operations = (Operation(1.0, "order", 0), Operation(1.5, "read", 0), Operation(2.0, "order", 0))
    lines = describe(Plan(7, 60.0, (), operations, faults)).splitlines()
    expected = [
        "seed 7: 60 s, 2 order, 1 read",
        "   3.0 s: kill orders-db for 2.0 s",
        "  12.0 s: clock jump orders-redis by -1200 s for 3.5 s",
    ]
    assert expected == lines
