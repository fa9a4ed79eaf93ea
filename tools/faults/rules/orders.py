"""What is promised of orders."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from tools.faults.difference import Breach, Difference
from tools.faults.evidence import Evidence, Request, accepted_id, succeeded
from tools.faults.record import Attempt
from tools.faults.state import Order

_PATHS: Mapping[str, list[tuple[str, ...]]] = {
    "pending": [("pending",)],
    "done": [("pending", "done")],
    "rejected": [("pending", "rejected")],
    "cancelled": [("pending", "cancelled"), ("pending", "done", "cancelled")],
}


def nothing_accepted_is_lost(evidence: Evidence) -> Iterator[Difference]:
    """Every 201 is in the database, as it was answered and as it was asked for."""
    for request in evidence.requests("order"):
        for attempt in request.attempts:
            order_id = accepted_id(attempt)
            if order_id is None:
                continue
            order = evidence.orders.get(order_id)
            if order is None:
                text = f"order {order_id} was answered 201 at {attempt.ended:.2f} s and is not in the database"
                yield Difference(Breach.LOST, text, attempt.trace_id, order_id)
            else:
                yield from _unaltered(evidence, request, attempt, order)


def nothing_is_done_twice(evidence: Evidence) -> Iterator[Difference]:
    """A key is one order, and so is a request without one; all its answers tell of the same."""
    for request in evidence.requests("order"):
        stored = {order.id for trace_id in request.trace_ids for order in evidence.orders_of_trace.get(trace_id, ())}
        told = {order_id for attempt in request.attempts if (order_id := accepted_id(attempt)) is not None}
        if len(stored | told) > 1:
            text = f"{_named(request)} made orders {sorted(stored)} and was told of {sorted(told)}"
            yield Difference(Breach.DOUBLED, text, request.attempts[0].trace_id, min(stored | told))


def nothing_is_made_up(evidence: Evidence) -> Iterator[Difference]:
    """Every order has the trace and the key of a request that was not refused, and is what that asked for."""
    for order in evidence.state.orders:
        request, _ = evidence.creations.get(order.trace_id, (None, None))
        if request is None:
            yield _of(order, Breach.UNASKED, "no request has its trace")
        elif request.is_refused:
            yield _of(order, Breach.UNASKED, "its request was refused")
        elif _asked_for(evidence, request) != (order.product_id, order.quantity, order.key):
            found = (order.product_id, order.quantity, order.key)
            yield _of(order, Breach.UNASKED, f"{found} instead of {_asked_for(evidence, request)}")


def prices_are_true(evidence: Evidence) -> Iterator[Difference]:
    """The unit price is one that the product had until then; the total is that times the quantity."""
    for order in evidence.state.orders:
        if order.total_price != order.unit_price * order.quantity:
            yield _of(order, Breach.PRICE, f"{order.quantity} of {order.unit_price} cost {order.total_price}")
        request, attempt = evidence.creations.get(order.trace_id, (None, None))
        if request is None or attempt is None:
            continue
        ended = attempt.ended if attempt.is_certain else math.inf
        prices = evidence.prices(request.operation.product, ended=ended)
        if order.unit_price not in prices:
            yield _of(order, Breach.PRICE, f"{order.unit_price} is none of {', '.join(map(str, sorted(prices)))}")


def orders_finish(evidence: Evidence) -> Iterator[Difference]:
    """No order stays pending."""
    for order in evidence.state.orders:
        if order.status == "pending":
            yield _of(order, Breach.UNFINISHED, "it is still pending")


def rejections_have_a_cause(evidence: Evidence) -> Iterator[Difference]:
    """An order is rejected only for want of stock, so the stock must have been below its quantity at some moment."""
    for order in evidence.state.orders:
        if order.status != "rejected":
            if order.reason is not None:
                yield _of(order, Breach.REJECTED, f"it has the reason {order.reason}")
        elif order.reason != "insufficient_stock":
            yield _of(order, Breach.REJECTED, f"the reason is {order.reason}")
        elif (least := _least_stock(evidence, order.product_id)) >= order.quantity:
            text = f"it asked for {order.quantity}, and there were never less than {least}"
            yield _of(order, Breach.REJECTED, text)


def cancellations_are_kept(evidence: Evidence) -> Iterator[Difference]:
    """What a 200 called cancelled is; else only what a failed answer left open may be. A 409 means rejected."""
    for order in evidence.state.orders:
        attempts = evidence.cancellations.get(order.id, ())
        if order.status == "cancelled" and not any(
            succeeded(attempt) or not attempt.is_certain for attempt in attempts
        ):
            yield _of(order, Breach.CANCELLED, "nobody was told so")
        for attempt in attempts:
            if attempt.is_certain and order.status != ("cancelled" if succeeded(attempt) else "rejected"):
                text = f"its cancellation was answered {attempt.status}"
                yield Difference(Breach.CANCELLED, f"{_told(order)}: {text}", attempt.trace_id, order.id)


def histories_are_complete(evidence: Evidence) -> Iterator[Difference]:
    """A history is a legal path from pending to the order's status, each entry with a trace."""
    for order_id in sorted({*evidence.orders, *evidence.state.history}):
        order, entries = evidence.orders.get(order_id), evidence.state.history.get(order_id, ())
        path = tuple(entry.status for entry in entries)
        trace_id = order.trace_id if order else None
        if order is None or path not in _PATHS[order.status]:
            text = f"{_told(order) if order else f'no order {order_id}'}: {' → '.join(path) or 'no history'}"
            yield Difference(Breach.HISTORY, text, trace_id, order_id)
        elif entries[0].trace_id != order.trace_id or not all(entry.trace_id for entry in entries):
            yield _of(order, Breach.HISTORY, f"traces {[entry.trace_id for entry in entries]}")
        elif entries[-1].reason != order.reason:
            yield _of(order, Breach.HISTORY, f"reason {order.reason}, and {entries[-1].reason} in the history")


def _unaltered(evidence: Evidence, request: Request, attempt: Attempt, order: Order) -> Iterator[Difference]:
    asked: dict[str, Any] = {"productId": evidence.product_id(request.operation), "quantity": request.operation.amount}
    stored = {**order.as_json(), "status": "pending", "reason": None}  # as a repeat under a key is answered too
    answered = {name: attempt.data.get(name) for name in stored}
    if request.operation.key is None and order.trace_id != attempt.trace_id:
        yield Difference(Breach.ALTERED, f"order {order.id} has trace {order.trace_id}", attempt.trace_id, order.id)
    if answered != stored or not asked.items() <= stored.items():
        text = f"asked for {asked}, answered {answered}, stored {stored}"
        yield Difference(Breach.ALTERED, text, attempt.trace_id, order.id)


def _asked_for(evidence: Evidence, request: Request) -> tuple[int, int, str | None]:
    return evidence.product_id(request.operation), request.operation.amount, request.operation.key


def _least_stock(evidence: Evidence, product_id: int) -> int:
    return min(evidence.stock_levels(product_id), default=0)


def _named(request: Request) -> str:
    return f"key {request.operation.key}" if request.operation.key else f"the request at {request.operation.at:.2f} s"


def _told(order: Order) -> str:
    return f"order {order.id} ({order.status}, {order.quantity} of product {order.product_id})"


def _of(order: Order, kind: Breach, text: str) -> Difference:
    return Difference(kind, f"{_told(order)}: {text}", order.trace_id, order.id)
