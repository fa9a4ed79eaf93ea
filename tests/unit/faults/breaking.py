"""A good round, and how it can be made to differ by one thing."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from ops.letters import DeadLetter
from tests.unit.faults.world import FIRST_ID, World
from tools.faults.difference import Breach
from tools.faults.plan import Product
from tools.faults.state import Entry, Movement, State
from tools.faults.verdict import judge

Row = TypeVar("Row")

AMPLE, SCARCE = 0, 1
# Operations of the good round.
KEYED, CANCELLED, CANCEL, SOLD, REJECTED, REFUSED_CANCEL, ADJUST, REFUSED_ADJUST = range(8)
REPRICE, READ, LIST, REFUSED, OPEN, OPEN_ADJUST, OPEN_REPRICE = range(8, 15)
# Orders of it, by their place in the table.
FIRST, CANCELLED_ORDER, SOLD_ORDER, REJECTED_ORDER, OPEN_ORDER = range(5)
TRACE_ID = "a" * 32


def good() -> World:
    """Every operation with its answers: done, refused and left open."""
    world = World(Product("10.00", 100), Product("1.00", 5))
    world.order(AMPLE, 2, key="k-0", statuses=(503, 409, 201))
    world.order(AMPLE, 1)
    world.cancel(CANCELLED)
    world.order(SCARCE, 4)
    world.order(SCARCE, 4)
    world.cancel(REJECTED)
    world.adjust(AMPLE, 5, "k-6")
    world.adjust(SCARCE, -3, "k-7")
    world.reprice(AMPLE, "12.00")
    world.read(AMPLE)
    world.list_orders(AMPLE)
    world.repeat(KEYED)
    world.refuse("order", AMPLE, 503)
    world.order(AMPLE, 3, statuses=(504,))
    world.adjust(AMPLE, -1, "k-13", status=502)
    world.reprice(SCARCE, "2.00", status=504)
    return world


def judged(world: World, state: State | None = None) -> set[Breach]:
    return {d.kind for d in judge(world.plan, world.record, world.state if state is None else state)}


def changed(rows: Sequence[Row], place: int, **fields: Any) -> list[Row]:
    return [replace(row, **fields) if number == place else row for number, row in enumerate(rows)]  # type: ignore[type-var]  # all are dataclasses


def without(rows: Sequence[Row], place: int) -> list[Row]:
    return [row for number, row in enumerate(rows) if number != place]


def order(place: int, **fields: Any) -> Callable[[State], State]:
    return lambda state: replace(state, orders=changed(state.orders, place, **fields))


def reservation(place: int, **fields: Any) -> Callable[[State], State]:
    return lambda state: replace(state, reservations=changed(state.reservations, place, **fields))


def product(place: int, **fields: Any) -> Callable[[State], State]:
    return lambda state: replace(state, products=changed(state.products, place, **fields))


def movement(place: int, **fields: Any) -> Callable[[State], State]:
    return lambda state: replace(state, movements=changed(state.movements, place, **fields))


def cached(place: int, **fields: Any) -> Callable[[State], State]:
    return lambda state: replace(state, cached=changed(state.cached, place, **fields))


def history(place: int, *entries: tuple[str, str | None, str | None]) -> Callable[[State], State]:
    def change(state: State) -> State:
        return replace(state, history={**state.history, state.orders[place].id: [Entry(*entry) for entry in entries]})

    return change


def moved(kind: str, delta: int, order_id: int | None = None, reason: str | None = None) -> Callable[[State], State]:
    row = Movement(999, FIRST_ID, kind, delta, order_id, reason)
    return lambda state: replace(state, movements=[*state.movements, row])


def both(*changes: Callable[[State], State]) -> Callable[[State], State]:
    def change(state: State) -> State:
        for one in changes:
            state = one(state)
        return state

    return change


LETTER = DeadLetter("1", "orders.stock", "order.updated", "7", 1, "failed", "no", TRACE_ID, None)


def attempt(world: World, operation: int, place: int = -1, **fields: Any) -> None:
    attempts = world.outcomes[operation].attempts
    attempts[place] = replace(attempts[place], **fields)


def body(world: World, operation: int, **fields: Any) -> None:
    """Of the last answer to an operation; with `data` of the data's fields."""
    [*_, last] = world.outcomes[operation].attempts
    attempt(world, operation, body={**last.body, **fields})


def data(world: World, operation: int, **fields: Any) -> None:
    [*_, last] = world.outcomes[operation].attempts
    body(world, operation, data={**last.data, **fields})


def refuse(code: str, status: int) -> Callable[[World, int], None]:
    """In place of an answer."""

    def change(world: World, operation: int) -> None:
        attempt(world, operation, status=status)
        body(world, operation, statusCode=status, data=None, error={"code": code, "message": "…", "details": []})

    return change


def forget(world: World, operation: int) -> None:
    world.outcomes[operation].attempts.clear()


def shorten(world: World, operation: int) -> None:
    body(world, operation, data=world.outcomes[operation].attempts[-1].data[1:])


def outdate(world: World, operation: int) -> None:
    [newer, older] = world.outcomes[operation].attempts[-1].data
    body(world, operation, data=[{**newer, "status": "done"}, older])


not_found, crash, conflict = refuse("not_found", 404), refuse("internal_error", 500), refuse("conflict", 409)
