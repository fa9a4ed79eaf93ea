"""The verdict on rounds that differ from a good one by one thing each."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from tests.unit.faults.breaking import (
    ADJUST,
    AMPLE,
    CANCEL,
    CANCELLED_ORDER,
    FIRST,
    KEYED,
    LETTER,
    LIST,
    OPEN,
    OPEN_ADJUST,
    OPEN_ORDER,
    READ,
    REFUSED,
    REFUSED_CANCEL,
    REJECTED_ORDER,
    REPRICE,
    SCARCE,
    SOLD,
    SOLD_ORDER,
    TRACE_ID,
    attempt,
    body,
    both,
    cached,
    changed,
    conflict,
    crash,
    data,
    forget,
    good,
    history,
    judged,
    moved,
    movement,
    not_found,
    order,
    outdate,
    product,
    refuse,
    reservation,
    shorten,
    without,
)
from tests.unit.faults.world import FIRST_ID, World
from tools.faults.difference import Breach
from tools.faults.state import Entry, Reservation, State
from tools.faults.views import Answer

VIEWS = {Breach.CACHE, Breach.REPLICA}

# What is left behind differs: `VIEWS` come with whatever clients are shown.
STATES: list[tuple[str, Callable[[State], State], set[Breach]]] = [
    ("an order is gone", lambda s: replace(s, orders=without(s.orders, FIRST)), {
        Breach.LOST, Breach.HISTORY, Breach.RESERVATION, Breach.MOVEMENTS, Breach.STOCK, *VIEWS,
    }),
    ("another quantity", order(FIRST, quantity=3, total_price=Decimal(30)), {
        Breach.ALTERED, Breach.UNASKED, Breach.RESERVATION, Breach.MOVEMENTS, Breach.STOCK, *VIEWS,
    }),
    ("another trace", order(CANCELLED_ORDER, trace_id=TRACE_ID), {
        Breach.ALTERED, Breach.UNASKED, Breach.HISTORY, *VIEWS,
    }),
    ("another key", order(FIRST, key="k-1"), {Breach.UNASKED}),
    ("an answered price", order(FIRST, unit_price=Decimal(12), total_price=Decimal(24)), {
        Breach.ALTERED, Breach.PRICE, *VIEWS,
    }),
    ("a price that never was", order(OPEN_ORDER, unit_price=Decimal(11), total_price=Decimal(33)), {
        Breach.PRICE, *VIEWS,
    }),
    ("a wrong total", order(OPEN_ORDER, total_price=Decimal(35)), {Breach.PRICE, *VIEWS}),
    ("an order of nobody", lambda s: replace(s, orders=[*s.orders, replace(s.orders[FIRST], id=999)]), {
        Breach.DOUBLED, Breach.HISTORY, Breach.RESERVATION, Breach.MOVEMENTS, Breach.STOCK, *VIEWS,
    }),
    ("pending for ever", order(OPEN_ORDER, status="pending"), {
        Breach.UNFINISHED, Breach.HISTORY, Breach.STOCK, *VIEWS,
    }),
    ("a done order with a reason", order(SOLD_ORDER, reason="insufficient_stock"), {
        Breach.REJECTED, Breach.HISTORY, *VIEWS,
    }),
    ("another reason", both(
        order(REJECTED_ORDER, reason="product_not_found"),
        history(REJECTED_ORDER, ("pending", None, f"{4:016x}{0:016x}"), ("rejected", "product_not_found", TRACE_ID)),
    ), {Breach.REJECTED, *VIEWS}),
    ("rejected with stock enough", movement(1, delta=9), {
        Breach.REJECTED, Breach.STOCK,
    }),
    ("cancelled by nobody", order(SOLD_ORDER, status="cancelled"), {
        Breach.CANCELLED, Breach.HISTORY, Breach.STOCK, Breach.MOVEMENTS, Breach.RESERVATION, *VIEWS,
    }),
    ("a cancellation undone", order(CANCELLED_ORDER, status="done"), {
        Breach.CANCELLED, Breach.HISTORY, Breach.STOCK, Breach.MOVEMENTS, Breach.RESERVATION, *VIEWS,
    }),
    ("no history", history(FIRST), {Breach.HISTORY}),
    ("no end of a history", history(FIRST, ("pending", None, f"{0:016x}{2:016x}")), {Breach.HISTORY}),
    ("a status twice", history(SOLD_ORDER, ("pending", None, f"{3:016x}{0:016x}"), *[("done", None, TRACE_ID)] * 2), {
        Breach.HISTORY,
    }),
    ("a history without trace", history(SOLD_ORDER, ("pending", None, f"{3:016x}{0:016x}"), ("done", None, None)), {
        Breach.HISTORY,
    }),
    ("a history of nothing", lambda s: replace(s, history={**s.history, 999: [Entry("pending", None, TRACE_ID)]}), {
        Breach.HISTORY,
    }),
    ("stock that no movement explains", product(AMPLE, qty=98), {Breach.STOCK, *VIEWS}),
    ("a movement too many", moved("reserve", -2, 100), {Breach.STOCK, Breach.MOVEMENTS}),
    ("a movement of no order", moved("reserve", -2), {Breach.STOCK, Breach.MOVEMENTS}),
    ("a movement of an unknown order", moved("reserve", -2, 999), {Breach.STOCK, Breach.MOVEMENTS}),
    ("more to begin with", both(movement(0, delta=101), product(AMPLE, qty=100)), {Breach.STOCK, *VIEWS}),
    ("two beginnings", both(moved("initial", 0)), {Breach.STOCK}),
    ("below zero", both(product(SCARCE, qty=-1), movement(1, delta=3)), {Breach.STOCK, Breach.BELOW_ZERO, *VIEWS}),
    ("below zero on the way", both(movement(4, delta=-104), moved("adjustment", 103, None, "operation 6")), {
        Breach.STOCK, Breach.BELOW_ZERO, Breach.MOVEMENTS, Breach.ADJUSTMENT,
    }),
    ("no reservation", lambda s: replace(s, reservations=without(s.reservations, FIRST)), {Breach.RESERVATION}),
    ("a reservation of nothing", lambda s: replace(
        s, reservations=[*s.reservations, Reservation(999, FIRST_ID, 1, "rejected", "insufficient_stock")]
    ), {Breach.RESERVATION}),
    ("another outcome", reservation(CANCELLED_ORDER, outcome="reserved"), {Breach.RESERVATION}),
    ("a reservation of another quantity", reservation(FIRST, quantity=1), {Breach.RESERVATION}),
    ("an adjustment lost", lambda s: replace(s, movements=[m for m in s.movements if m.reason != "operation 6"]), {
        Breach.ADJUSTMENT, Breach.STOCK,
    }),
    ("an adjustment twice", both(moved("adjustment", 5, None, "operation 6"), product(AMPLE, qty=104)), {
        Breach.ADJUSTMENT, *VIEWS,
    }),
    ("an open adjustment twice", both(moved("adjustment", -1, None, "operation 13"), product(AMPLE, qty=98)), {
        Breach.ADJUSTMENT, *VIEWS,
    }),
    ("a refused adjustment", both(moved("adjustment", -3, None, "operation 7"), product(AMPLE, qty=96)), {
        Breach.ADJUSTMENT, *VIEWS,
    }),
    ("a price that was overwritten", product(AMPLE, price=Decimal(10)), {Breach.CATALOGUE, *VIEWS}),
    ("a version too many", product(AMPLE, version=3), {Breach.CATALOGUE, *VIEWS}),
    ("a version too few", product(AMPLE, version=1), {Breach.CATALOGUE, *VIEWS}),
    ("no product", lambda s: replace(s, products=without(s.products, SCARCE)), {
        Breach.CATALOGUE, Breach.STOCK, *VIEWS,
    }),
    ("an event that has not left", lambda s: replace(s, outboxes={"orders-db": 1}), {Breach.OUTBOX}),
    ("an event that waits", lambda s: replace(s, queues={**s.queues, "orders.stock": 1}), {Breach.QUEUE}),
    ("a queue that is gone", lambda s: replace(s, queues={}), {Breach.QUEUE}),
    ("a dead letter", lambda s: replace(s, dead_letters=[LETTER]), {Breach.DEAD_LETTER}),
    ("an old stock in the cache", cached(0, content={"id": FIRST_ID, "qty": 100}), {Breach.CACHE}),
    ("no such product in the cache", cached(1, content=None), {Breach.CACHE}),
    ("an empty list in the cache", cached(2, content={"next": None, "orders": []}), {Breach.CACHE}),
    ("a next page in the cache", lambda s: cached(2, content={**s.cached[2].content, "next": "c"})(s), {Breach.CACHE}),
    ("a key that means nothing", cached(2, key="orders:product:"), {Breach.CACHE}),
    ("a cached value for ever", cached(2, seconds=-1), {Breach.CACHE}),
    ("a cached value for long", cached(2, seconds=61), {Breach.CACHE}),
    ("a replica that fails", lambda s: replace(s, answers=changed(s.answers, 0, status=503, body=None)), {
        Breach.REPLICA,
    }),
    ("a replica that shows another order", lambda s: replace(
        s, answers=[*s.answers, Answer("orders-1", "/orders/100", 200, {"data": {"id": 101}})]
    ), {Breach.REPLICA}),
]  # fmt: skip


# What clients saw differs.
RECORDS: list[tuple[str, int, Callable[[World, int], None], set[Breach]]] = [
    ("no request for an order", SOLD, forget, {Breach.UNASKED}),
    ("a refused request for an order", OPEN, not_found, {Breach.UNASKED, Breach.UNEXPLAINED}),
    ("another order under a key", KEYED, lambda w, o: data(w, o, id=104), {Breach.DOUBLED, Breach.ALTERED}),
    ("an order that nobody has", SOLD, lambda w, o: data(w, o, id=999), {Breach.DOUBLED, Breach.LOST}),
    ("another quantity answered", SOLD, lambda w, o: data(w, o, quantity=1), {Breach.ALTERED}),
    ("a final status answered", SOLD, lambda w, o: data(w, o, status="done"), {Breach.ALTERED}),
    ("no cancellation", CANCEL, forget, {Breach.CANCELLED}),
    ("a refused cancellation", CANCEL, conflict, {Breach.CANCELLED}),
    ("a cancellation that was not", REFUSED_CANCEL, lambda w, o: attempt(w, o, status=200), {
        Breach.CANCELLED, Breach.ENVELOPE,
    }),
    ("no adjustment", ADJUST, forget, {Breach.ADJUSTMENT}),
    ("no open adjustment", OPEN_ADJUST, forget, {Breach.ADJUSTMENT}),
    ("no reprice", REPRICE, forget, {Breach.CATALOGUE, Breach.PRICE, Breach.OWN_WRITE}),
    ("a refused reprice", REPRICE, refuse("precondition_failed", 412), {
        Breach.CATALOGUE, Breach.PRICE, Breach.OWN_WRITE, Breach.UNEXPLAINED,
    }),
    ("an old price", READ, lambda w, o: data(w, o, price="10.00"), {Breach.OWN_WRITE}),
    ("a price later than the read", READ, lambda w, o: data(w, o, price="2.00"), {Breach.OWN_WRITE}),
    ("a list without the newest", LIST, shorten, {Breach.OWN_WRITE}),
    ("a list before a cancellation", LIST, outdate, {Breach.OWN_WRITE}),
    ("no answer", READ, lambda w, o: attempt(w, o, status=None, body=None, error="gone"), {Breach.NO_ANSWER}),
    ("a late answer", READ, lambda w, o: attempt(w, o, ended=99.0), {Breach.LATE}),
    ("no envelope", REFUSED, lambda w, o: attempt(w, o, body=None), {Breach.ENVELOPE, Breach.UNEXPLAINED}),
    ("another status in the envelope", REFUSED, lambda w, o: body(w, o, statusCode=502), {Breach.ENVELOPE}),
    ("data of a failure", REFUSED, lambda w, o: body(w, o, data={}), {Breach.ENVELOPE}),
    ("another trace", REFUSED, lambda w, o: body(w, o, traceId=TRACE_ID), {Breach.ENVELOPE}),
    ("another code", REFUSED, lambda w, o: body(w, o, error={"code": "upstream_error", "message": "…"}), {
        Breach.ENVELOPE,
    }),
    ("no time to come back", REFUSED, lambda w, o: attempt(w, o, is_deferred=False), {Breach.ENVELOPE}),
    ("no message", REFUSED, lambda w, o: body(w, o, error={"code": "unavailable"}), {Breach.ENVELOPE}),
    ("nothing in a success", READ, lambda w, o: body(w, o, data=None), {Breach.ENVELOPE, Breach.OWN_WRITE}),
    ("a crash", REFUSED, crash, {Breach.UNEXPLAINED}),
    ("no such thing", REFUSED, not_found, {Breach.UNEXPLAINED}),
    ("a conflict without a key", REFUSED, conflict, {Breach.UNEXPLAINED}),
]  # fmt: skip


def test_nothing_is_found_where_every_promise_was_kept() -> None:
    assert judged(good()) == set()


@pytest.mark.parametrize(("change", "expected"), [case[1:] for case in STATES], ids=[case[0] for case in STATES])
def test_what_was_left_behind(change: Callable[[State], State], expected: set[Breach]) -> None:
    world = good()

    assert judged(world, change(world.state)) == expected


@pytest.mark.parametrize(
    ("operation", "change", "expected"), [case[1:] for case in RECORDS], ids=[case[0] for case in RECORDS]
)
def test_what_clients_saw(operation: int, change: Callable[[World, int], None], expected: set[Breach]) -> None:
    world = good()
    change(world, operation)

    assert judged(world) == expected


def test_every_breach_was_seen() -> None:
    seen = set().union(*(case[-1] for case in STATES), *(case[-1] for case in RECORDS))

    assert seen == set(Breach) - {Breach.READINESS, Breach.PROCESS}  # which show while the round runs
