"""The verdict on rounds that differ from a good one by one thing each."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from ops.differences import Difference as RowDifference
from ops.differences import Kind as RowKind
from tests.unit.faults.world import FIRST_ID, World, time_at
from tools.faults.evidence import Breach
from tools.faults.plan import Fault, Kind, Product
from tools.faults.state import Cached, State
from tools.faults.verdict import judge

AMPLE, SCARCE, OTHER = 0, 1, 2
# Operations of the good round.
KEYED, CANCELLED, CANCEL, SOLD, REJECTED, REFUSED_CANCEL, ADJUST, REFUSED_ADJUST = range(8)
REPRICE, READ, LIST, REFUSED, OPEN, OPEN_ADJUST, OPEN_REPRICE = range(8, 15)
CONFIRMED, CONFIRM, EXTENDED, EXTEND, EXPIRED, LATE_CONFIRM, HELD, HELD_CANCEL, PRICED, WRONG_PRICE = range(15, 25)
LIST_AT_LAST = 25
# Orders of it, by their ids.
FIRST, CANCELLED_ORDER, SOLD_ORDER, REJECTED_ORDER, OPEN_ORDER = range(100, 105)
CONFIRMED_ORDER, EXTENDED_ORDER, EXPIRED_ORDER, HELD_ORDER, PRICED_ORDER = range(105, 110)
TRACE_ID = "a" * 32

KILLED = Fault(1.0, 1.0, Kind.KILL, "products-2")
ORDERS_KILLED = Fault(1.0, 1.0, Kind.KILL, "orders-2")


def good() -> World:
    """Every operation with its answers: done, refused and left open."""
    world = World(Product("10.00", 100), Product("1.00", 5), Product("3.00", 50))
    world.order(AMPLE, 2, key="k-0", statuses=(503, 503, 201))
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
    world.order(AMPLE, 1, more=((OTHER, 2),), hold=5)
    world.confirm(CONFIRMED)
    world.order(OTHER, 3, hold=2)
    world.extend(EXTENDED, 9)
    world.expire(EXTENDED)
    world.order(AMPLE, 2, more=((OTHER, 1),), hold=1, reference="R-1", statuses=(201,))
    world.meet_reference(EXPIRED)
    world.expire(EXPIRED)
    world.confirm(EXPIRED)
    world.order(OTHER, 4, hold=3)
    world.cancel(HELD)
    world.order(OTHER, 1, priced=True)
    world.refuse("order", AMPLE, 409, "price_changed", priced=True)
    world.list_orders(OTHER)
    return world


def judged(world: World, change: Callable[[State], State] = lambda state: state) -> set[Breach]:
    return {difference.kind for difference in judge(world.record, change(world.state))}


def order(order_id: int, **fields: Any) -> Callable[[World], None]:
    return lambda world: world.orders[order_id].update(fields)


def line(order_id: int, **fields: Any) -> Callable[[World], None]:
    def change(world: World) -> None:
        first, *others = world.orders[order_id]["lines"]
        world.orders[order_id]["lines"] = [{**first, **fields}, *others]

    return change


def cost(order_id: int, price: str, total: str) -> Callable[[World], None]:
    """Changes the price of an order of one product."""

    def change(world: World) -> None:
        line(order_id, unitPrice=price, totalPrice=total)(world)
        order(order_id, totalPrice=total)(world)

    return change


def reservation(order_id: int, place: int, **fields: Any) -> Callable[[World], None]:
    return lambda world: world.reservations[order_id][place].update(fields)


def product(index: int, **fields: Any) -> Callable[[World], None]:
    return lambda world: world.products[FIRST_ID + index].update(fields)


def movement(index: int, place: int, **fields: Any) -> Callable[[World], None]:
    return lambda world: world.movements[FIRST_ID + index][place].update(fields)


def moved(kind: str, delta: int, reason: str | None = None) -> Callable[[World], None]:
    row = {"id": 99, "kind": kind, "delta": delta, "orderId": None, "reason": reason}
    return lambda world: world.movements[FIRST_ID].append(row)


def attempt(operation: int, **fields: Any) -> Callable[[World], None]:
    def change(world: World) -> None:
        attempts = world.outcomes[operation].attempts
        attempts[-1] = replace(attempts[-1], **fields)

    return change


def body(operation: int, **fields: Any) -> Callable[[World], None]:
    def change(world: World) -> None:
        attempt(operation, body={**world.outcomes[operation].attempts[-1].body, **fields})(world)

    return change


def refuse(operation: int, status: int, code: str) -> Callable[[World], None]:
    def change(world: World) -> None:
        body(operation, statusCode=status, data=None, error={"code": code, "message": "…"})(world)
        attempt(operation, status=status, is_deferred=status == 503)(world)

    return change


def data(operation: int, change: Callable[[Any], Any]) -> Callable[[World], None]:
    return lambda world: body(operation, data=change(world.outcomes[operation].attempts[-1].data))(world)


def forget(operation: int) -> Callable[[World], None]:
    return lambda world: world.outcomes[operation].attempts.clear()


def duplicate(world: World) -> None:
    world.orders[999] = {**world.orders[FIRST], "id": 999}


CASES: Mapping[str, tuple[Callable[[World], Any], set[Breach]]] = {
    "an order is gone": (lambda w: w.orders.pop(FIRST), {Breach.LOST, Breach.STOCK}),
    "another quantity": (
        lambda w: [line(FIRST, quantity=3, totalPrice="30.00")(w), order(FIRST, totalPrice="30.00")(w)],
        {Breach.ALTERED, Breach.UNASKED, Breach.STOCK, Breach.WHOLE},
    ),
    "another trace": (order(FIRST, traceId=TRACE_ID), {Breach.ALTERED, Breach.UNASKED}),
    "an answered price": (line(FIRST, unitPrice="12.00"), {Breach.ALTERED, Breach.PRICE}),
    "a price that never was": (
        cost(OPEN_ORDER, "11.00", "33.00"), {Breach.PRICE}
    ),
    "a wrong total": (order(OPEN_ORDER, totalPrice="35.00"), {Breach.PRICE}),
    "a wrong total of a line": (line(OPEN_ORDER, totalPrice="35.00"), {Breach.PRICE}),
    "a price that was not named": (
        cost(PRICED_ORDER, "2.00", "2.00"), {Breach.ALTERED, Breach.PRICE}
    ),
    "a price that was right": (attempt(WRONG_PRICE, began=0.0, ended=0.1), {Breach.PRICE}),
    "a reference of no order": (order(EXPIRED_ORDER, reference=None), {Breach.ALTERED, Breach.UNASKED}),
    "a reference that only its own answer has": (
        lambda w: w.outcomes[EXPIRED].attempts.pop(0), {Breach.UNASKED}
    ),
    "a code of another request": (refuse(PRICED, 409, "duplicate_reference"), {Breach.ENVELOPE, Breach.UNASKED}),
    "a hold that has ended and should be asked again": (attempt(LATE_CONFIRM, is_deferred=True), {Breach.ENVELOPE}),
    "held for ever": (
        order(CONFIRMED_ORDER, status="held"), {Breach.UNFINISHED, Breach.HOLD, Breach.STOCK, Breach.WHOLE}
    ),
    "confirmed by nobody": (forget(CONFIRM), {Breach.HOLD}),
    "confirmed by an unavailable service": (refuse(CONFIRM, 503, "unavailable"), {Breach.HOLD}),
    "a confirmation undone": (
        order(CONFIRMED_ORDER, status="expired", updatedAt=time_at(99.0)), {Breach.HOLD, Breach.STOCK, Breach.WHOLE}
    ),
    "done after its end": (order(EXPIRED_ORDER, status="done"), {Breach.HOLD, Breach.STOCK, Breach.WHOLE}),
    "expired too soon": (order(EXTENDED_ORDER, updatedAt=time_at(1.0)), {Breach.HOLD}),
    "an extension lost": (order(EXTENDED_ORDER, expiresAt=time_at(1.0)), {Breach.HOLD}),
    "held for another time": (order(HELD_ORDER, expiresAt=time_at(99.0)), {Breach.ALTERED, Breach.HOLD}),
    "stock that stays held": (product(OTHER, held=1), {Breach.STOCK}),
    "a line without its movement": (lambda w: w.movements[FIRST_ID + OTHER].pop(1), {Breach.WHOLE}),
    "a line without its reservation": (lambda w: w.reservations[CONFIRMED_ORDER].pop(), {Breach.WHOLE}),
    "a line that got nothing": (reservation(CONFIRMED_ORDER, 1, outcome="rejected"), {Breach.WHOLE}),
    "a line that stays held": (reservation(CONFIRMED_ORDER, 1, held=True), {Breach.WHOLE}),
    "no shortages": (order(REJECTED_ORDER, shortages=[]), {Breach.REJECTED}),
    "the shortage of another line": (
        order(REJECTED_ORDER, shortages=[{"productId": FIRST_ID, "requested": 4, "available": 1}]), {Breach.REJECTED}
    ),
    "two orders of one request": (duplicate, {Breach.DOUBLED, Breach.STOCK, Breach.WHOLE}),
    "an order of a refused request": (refuse(OPEN, 400, "bad_request"), {Breach.UNASKED, Breach.UNEXPLAINED}),
    "an order of an unavailable service": (refuse(OPEN, 503, "unavailable"), {Breach.UNASKED}),
    "an order of an unknown outcome": (refuse(OPEN, 504, "outcome_unknown"), set()),
    "an order of no request": (forget(OPEN), {Breach.UNASKED}),
    "pending for ever": (order(OPEN_ORDER, status="pending"), {Breach.UNFINISHED, Breach.STOCK}),
    "another reason": (order(REJECTED_ORDER, reason="product_not_found"), {Breach.REJECTED}),
    "rejected with stock enough": (movement(SCARCE, 1, delta=-1), {Breach.REJECTED, Breach.WHOLE}),
    "cancelled without an answer": (forget(CANCEL), {Breach.CANCELLED}),
    "cancelled by an unavailable service": (refuse(CANCEL, 503, "unavailable"), {Breach.CANCELLED}),
    "a cancellation undone": (
        order(CANCELLED_ORDER, status="done"), {Breach.CANCELLED, Breach.STOCK, Breach.WHOLE}
    ),
    "stock that no order explains": (product(AMPLE, qty=50), {Breach.STOCK}),
    "below zero": (product(SCARCE, qty=-1), {Breach.STOCK, Breach.BELOW_ZERO}),
    "below zero on the way": (
        movement(SCARCE, 1, delta=-9), {Breach.BELOW_ZERO, Breach.REJECTED, Breach.WHOLE}
    ),
    "a correction lost": (
        lambda w: w.movements[FIRST_ID].remove(w.movements[FIRST_ID][4]), {Breach.ADJUSTMENT, Breach.STOCK}
    ),
    "a correction done twice": (moved("adjustment", 5, "k-6"), {Breach.ADJUSTMENT, Breach.STOCK}),
    "a refused correction done": (moved("adjustment", 0, "k-7"), {Breach.ADJUSTMENT}),
    "a correction by an unavailable service": (refuse(OPEN_ADJUST, 503, "unavailable"), {Breach.ADJUSTMENT}),
    "a price set by an unavailable service": (refuse(OPEN_REPRICE, 503, "unavailable"), {Breach.CATALOGUE}),
    "a price that was not set": (product(AMPLE, price="9.00"), {Breach.CATALOGUE}),
    "a change lost": (product(AMPLE, version=1), {Breach.CATALOGUE}),
    "a product is gone": (lambda w: w.products.pop(FIRST_ID + SCARCE), {Breach.CATALOGUE, Breach.STOCK}),
    "an old price": (data(READ, lambda d: {**d, "price": "10.00"}), {Breach.OWN_WRITE}),
    "a price later than the read": (data(READ, lambda d: {**d, "price": "2.00"}), {Breach.OWN_WRITE}),
    "a list without the newest": (data(LIST, lambda d: d[1:]), {Breach.OWN_WRITE}),
    "a list before a confirmation": (
        data(LIST_AT_LAST, lambda shown: [{**each, "status": "held"} for each in shown]), {Breach.OWN_WRITE}
    ),
    "a list before a cancellation": (data(LIST, lambda d: [{**d[0], "status": "done"}, d[1]]), {Breach.OWN_WRITE}),
    "no answer": (attempt(READ, status=None, body=None), {Breach.NO_ANSWER}),
    "a late answer": (attempt(READ, ended=99.0), {Breach.LATE}),
    "no envelope": (attempt(REFUSED, body=None), {Breach.ENVELOPE}),
    "another status in the envelope": (body(REFUSED, statusCode=502), {Breach.ENVELOPE}),
    "data of a failure": (body(REFUSED, data={}), {Breach.ENVELOPE}),
    "the trace of another request": (body(REFUSED, traceId=TRACE_ID), {Breach.ENVELOPE}),
    "another code": (body(REFUSED, error={"code": "upstream_error", "message": "…"}), {Breach.ENVELOPE}),
    "no time to come back": (attempt(REFUSED, is_deferred=False), {Breach.ENVELOPE}),
    "a time to come back after what is not known": (attempt(OPEN, is_deferred=True), {Breach.ENVELOPE}),
    "a crash": (refuse(REFUSED, 500, "internal_error"), {Breach.UNEXPLAINED}),
    "no such thing": (refuse(REFUSED, 404, "not_found"), {Breach.UNEXPLAINED}),
    "a conflict": (refuse(REFUSED, 409, "conflict"), {Breach.UNEXPLAINED}),
}  # fmt: skip

LETTER = dict.fromkeys(("queue", "eventType", "eventId", "reason", "error", "traceId"), "…")
UNREADABLE = {**LETTER, "queue": "orders.stock", "error": "not JSON"}
NO_PLACE_FOR_LETTERS = Fault(1.0, 1.0, Kind.DELETE_DEAD, "orders.stock")
OLD_PRICE = Cached("orders-redis", f"product:{FIRST_ID}", {"id": FIRST_ID, "price": "10.00"}, 59.0)
DISORDERED = RowDifference(RowKind.HISTORY, "done, pending", "pending first", order_id=FIRST)


def old_product(state: State) -> State:
    return replace(state, product_views={**state.product_views, "products-2": {}})


def old_list(state: State) -> State:
    return replace(state, order_views={**state.order_views, "orders-2": {}})


LEFT_OVER: Mapping[str, tuple[Callable[[State], State], Breach, Sequence[Fault]]] = {
    # What is left behind, the breach, and the faults that excuse it.
    "an outbox row": (lambda s: replace(s, outboxes={"orders": 1}), Breach.OUTBOX, []),
    "an event in a queue": (lambda s: replace(s, queues={**s.queues, "orders.stock": 1}), Breach.QUEUE, []),
    "no queue": (lambda s: replace(s, queues={}), Breach.QUEUE, []),
    "a dead letter": (lambda s: replace(s, dead_letters=[LETTER]), Breach.DEAD_LETTER, []),
    "a dead letter that was sent as one": (
        lambda s: replace(s, dead_letters=[UNREADABLE]), Breach.DEAD_LETTER, [NO_PLACE_FOR_LETTERS]
    ),
    "rows that disagree": (
        lambda s: replace(s, rows=[replace(DISORDERED, kind=RowKind.STATUS)]), Breach.ROWS, []
    ),
    "times of a history": (
        lambda s: replace(s, rows=[DISORDERED]), Breach.ROWS, [Fault(1.0, 1.0, Kind.CLOCK, "orders-db", 600.0)]
    ),
    "an old product": (old_product, Breach.CACHE, [KILLED]),
    "a product of a late commit": (
        old_product, Breach.CACHE, [Fault(1.0, 1.0, Kind.STALL, "products-1>products-db")]
    ),
    "an old list": (old_list, Breach.CACHE, [ORDERS_KILLED]),
    "an old price for orders": (
        lambda s: replace(s, cached=[OLD_PRICE]), Breach.CACHE, [Fault(1.0, 1.0, Kind.DELETE_QUEUE, "orders.products")]
    ),
    "a value that never expires": (
        lambda s: replace(s, cached=[replace(s.cached[0], seconds=-0.001)]),
        Breach.CACHE,
        [Fault(1.0, 1.0, Kind.CLOCK, "orders-redis", 600.0)],
    ),
}  # fmt: skip


def test_nothing_is_found_where_every_promise_was_kept() -> None:
    assert judged(good()) == set()


@pytest.mark.parametrize("case", CASES)
def test_one_difference_is_found(case: str) -> None:
    change, expected = CASES[case]
    world = good()
    change(world)

    found = judged(world, lambda state: replace(state, cached=[]))

    assert found == expected


@pytest.mark.parametrize("case", LEFT_OVER)
def test_what_is_left_over_is_found_unless_a_fault_explains_it(case: str) -> None:
    change, breach, faults = LEFT_OVER[case]
    world = good()
    found = judged(world, change)
    world.faults.extend(faults)

    assert found == {breach}
    assert judged(world, change) == (set() if faults else {breach})


@pytest.mark.parametrize(
    ("fault", "expected"), [([], {Breach.DEAD_LETTER}), ([Fault(1.0, 1.0, Kind.DELETE_QUEUE, "orders.stock")], set())]
)
def test_what_nobody_can_read_must_be_a_dead_letter_unless_its_queue_was_deleted(
    fault: Sequence[Fault], expected: set[Breach]
) -> None:
    world = good()
    world.faults += [NO_PLACE_FOR_LETTERS, *fault]

    assert judged(world) == expected


@pytest.mark.parametrize(
    ("target", "also", "expected"),
    [
        ("orders-db", [], {Breach.HELD_UP}),
        ("orders-db", [KILLED], set()),
        ("products-db", [], set()),  # the order needs what is locked
    ],
)
def test_beside_a_lock_and_nothing_else_orders_are_final_in_time(
    target: str, also: Sequence[Fault], expected: set[Breach]
) -> None:
    world = good()
    world.faults += [Fault(0.5, 60.0, Kind.LOCK, target), *also]
    in_time = judged(world)
    order(FIRST, updatedAt=time_at(9.0))(world)

    assert (in_time, judged(world)) == (set(), expected)


def test_a_hold_goes_on_only_where_it_began_on_a_clock_that_was_ahead() -> None:
    world = good()
    world.order(OTHER, 1, hold=7200)
    found = judged(world)
    world.faults.append(Fault(1.0, 1.0, Kind.CLOCK, "orders-db", 3600.0))

    assert (found, judged(world)) == ({Breach.UNFINISHED}, set())


@pytest.mark.parametrize(("operation", "service"), [(READ, "products"), (LIST, "orders")])
def test_an_own_write_may_be_seen_late_while_a_drop_is_missing(operation: int, service: str) -> None:
    world = good()
    data(operation, lambda shown: {**shown, "price": "10.00"} if operation == READ else shown[1:])(world)
    read = world.outcomes[operation].attempts[0]

    def bypassed(service: str, began: float, ended: float) -> set[Breach]:
        return judged(world, lambda state: replace(state, bypasses={**state.bypasses, service: [(began, ended)]}))

    assert bypassed(service, 0.0, read.began) == bypassed(service, read.ended, math.inf) == set()
    assert bypassed(service, 0.0, read.began - 0.1) == {Breach.OWN_WRITE}
    assert bypassed(service, read.ended + 0.1, math.inf) == {Breach.OWN_WRITE}
    assert bypassed("gateway", 0.0, math.inf) == {Breach.OWN_WRITE}


@pytest.mark.parametrize(("service", "change"), [("products", old_product), ("orders", old_list)])
def test_a_replica_that_ended_before_its_flush_leaves_the_cache_old(
    service: str, change: Callable[[State], State]
) -> None:
    def bypassed(ended: float) -> Callable[[State], State]:
        return lambda state: replace(change(state), bypasses={**state.bypasses, service: [(1.0, ended)]})

    assert [judged(good(), bypassed(ended)) for ended in (2.0, math.inf)] == [{Breach.CACHE}, set()]


@pytest.mark.parametrize(("at", "expected"), [(20.0, set()), (1.0, {Breach.NO_ANSWER})])
def test_no_answer_is_excused_only_while_the_gateway_is_down(at: float, expected: set[Breach]) -> None:
    world = good()
    attempt(OPEN_REPRICE, status=None, body=None)(world)
    world.faults.append(Fault(at, 1.0, Kind.KILL, "gateway"))

    assert judged(world) == expected


def test_every_breach_was_seen() -> None:
    seen = {breach for _, expected in CASES.values() for breach in expected}
    seen.update(breach for _, breach, _ in LEFT_OVER.values())
    seen.add(Breach.HELD_UP)

    # The others show during the round.
    assert seen == set(Breach) - {Breach.READINESS, Breach.PROCESS, Breach.UNREADABLE, Breach.RESERVATION}
