"""What would be a broken promise, but for a fault that explains it."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.faults.breaking import (
    AMPLE,
    CANCELLED_ORDER,
    LIST,
    OPEN_REPRICE,
    READ,
    attempt,
    both,
    cached,
    changed,
    data,
    good,
    judged,
    product,
    reservation,
    shorten,
)
from tests.unit.faults.world import FIRST_ID, World
from tools.faults.difference import Breach
from tools.faults.plan import Fault, Kind
from tools.faults.state import State

KILLED = Fault(1.0, 1.0, Kind.KILL, "products-2")
FROZEN = Fault(1.0, 1.0, Kind.FREEZE, "orders-redis")

old_stock = cached(0, content={"id": FIRST_ID, "qty": 1})
lost_release = both(
    reservation(CANCELLED_ORDER, outcome="reserved"),
    product(AMPLE, qty=98),
    lambda state: replace(
        state, movements=[row for row in state.movements if row.kind != "release"], cached=[], answers=[]
    ),
)


def queue_deleted(queue: str) -> Fault:
    return Fault(1.0, 1.0, Kind.DELETE_QUEUE, queue)


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        pytest.param(old_stock, [KILLED], id="a crash before a drop"),
        pytest.param(old_stock, [replace(KILLED, kind=Kind.TERMINATE), FROZEN], id="an end that owes a drop"),
        pytest.param(lambda s: replace(s, answers=changed(s.answers, 0, body={})), [KILLED], id="shown by a replica"),
        pytest.param(
            cached(1, content={"id": FIRST_ID, "price": "10.00"}),
            [queue_deleted("orders.products")],
            id="news of a product lost",
        ),
        pytest.param(old_stock, [Fault(1.0, 1.0, Kind.STALL, "products-1>products-db")], id="a late commit"),
        pytest.param(
            cached(1, seconds=600.0), [Fault(1.0, 1.0, Kind.CLOCK, "orders-redis", -600.0)], id="a clock set back"
        ),
    ],
)
def test_what_was_left_behind(change: Callable[[State], State], faults: list[Fault]) -> None:
    world = good()
    state = change(world.state)
    assert judged(world, state)

    world.faults.extend(faults)

    assert judged(world, state) == set()


def take_away(world: World, operation: int) -> None:
    attempt(world, operation, status=None, body=None)


@pytest.mark.parametrize(
    ("operation", "change", "fault"),
    [
        pytest.param(READ, lambda w, o: data(w, o, price="10.00"), FROZEN, id="a read while Redis is slow"),
        pytest.param(LIST, shorten, Fault(1.0, 1.0, Kind.CUT, "orders-1>orders-redis"), id="a list without Redis"),
        pytest.param(OPEN_REPRICE, take_away, Fault(20.0, 1.0, Kind.KILL, "gateway"), id="no gateway"),
    ],
)
def test_what_clients_saw(operation: int, change: Callable[[World, int], None], fault: Fault) -> None:
    world = good()
    change(world, operation)
    assert judged(world)

    world.faults.append(fault)

    assert judged(world) == set()


def test_a_read_while_a_drop_is_owed() -> None:
    world = good()
    data(world, READ, price="10.00")

    assert judged(world, replace(world.state, late_drops=True)) == set()


def test_a_gateway_that_is_long_back() -> None:
    world = good()
    take_away(world, OPEN_REPRICE)
    world.faults.append(Fault(1.0, 1.0, Kind.KILL, "gateway"))

    assert judged(world) == {Breach.NO_ANSWER}


def test_a_cancellation_that_was_lost_with_its_queue_and_never_announced_again() -> None:
    world = good()
    world.faults.append(queue_deleted("products.orders"))

    assert judged(world, lost_release(world.state)) >= {Breach.RESERVATION, Breach.MOVEMENTS}
