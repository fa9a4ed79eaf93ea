"""The verdict on any round."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.faults.breaking import judged
from tests.unit.faults.world import World
from tools.faults.plan import Product
from tools.faults.verdict import judge

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("order"), st.integers(0, 1), st.integers(1, 4)),
        st.tuples(st.just("cancel"), st.integers(0, 1), st.integers(0, 9)),
        st.tuples(st.just("adjust"), st.integers(0, 1), st.integers(-5, 5).filter(bool)),
        st.tuples(st.just("reprice"), st.integers(0, 1), st.integers(1, 99)),
        st.tuples(st.just("read"), st.integers(0, 1), st.just(0)),
        st.tuples(st.just("list"), st.integers(0, 1), st.just(0)),
    ),
    min_size=1,
    max_size=25,
)


def played(steps: list[tuple[str, int, int]]) -> World:
    world = World(Product("10.00", 12), Product("1.00", 3))
    placed: list[int] = []
    for number, (action, index, amount) in enumerate(steps):
        match action:
            case "order":
                key = f"key {number}" if amount % 2 else None
                placed.append(world.order(index, amount, key=key, statuses=(201, 503, 504)[number % 3 :][:1]))
            case "cancel" if placed and world.was_accepted(operation := placed[amount % len(placed)]):
                world.cancel(operation)
            case "adjust":
                world.adjust(index, amount, f"key {number}")
            case "reprice":
                world.reprice(index, f"{amount}.50", status=(200, 504)[number % 2])
            case "read":
                world.read(index)
            case "list":
                world.list_orders(index)
    return world


@given(STEPS)
def test_any_round_in_which_every_promise_was_kept(steps: list[tuple[str, int, int]]) -> None:
    assert judged(played(steps)) == set()


@given(STEPS, st.data())
def test_no_row_can_go(steps: list[tuple[str, int, int]], draw: st.DataObject) -> None:
    world = played(steps)
    record, state = world.record, replace(world.state, cached=[], answers=[])
    tables = (world.products, world.movements, world.reservations, world.orders)
    rows: list[Any] = draw.draw(st.sampled_from([table for table in tables if table]))

    rows.remove(draw.draw(st.sampled_from(rows)))

    assert judge(world.plan, record, state)
