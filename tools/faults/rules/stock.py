"""What is promised of products and their stock."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from tools.faults.difference import Breach, Difference
from tools.faults.evidence import Evidence, Request, reason_of
from tools.faults.state import Movement, Order

# The outcomes of a reservation that a status allows.
_OUTCOMES = {"done": {"reserved"}, "rejected": {"rejected"}, "cancelled": {"released", "rejected"}}


def stock_adds_up(evidence: Evidence) -> Iterator[Difference]:
    """Stock = its movements = initial + adjustments - what orders hold."""
    for index, product_id in enumerate(evidence.record.products):
        product = evidence.products.get(product_id)
        movements = evidence.movements_of_product.get(product_id, [])
        moved = sum(movement.delta for movement in movements)
        adjusted = sum(movement.delta for movement in movements if movement.kind == "adjustment")
        orders = evidence.orders_of_product.get(product_id, ())
        held = sum(order.quantity for order in orders if order.status == "done")
        expected = evidence.plan.products[index].qty + adjusted - held
        found = product.qty if product else None
        if not found == moved == expected:
            text = f"product {product_id}: stock {found}, movements {moved}, by its orders {expected}"
            yield Difference(Breach.STOCK, text)


def stock_begins_as_entered(evidence: Evidence) -> Iterator[Difference]:
    """The first movement of a product is its initial stock, and there is no other such movement."""
    for product, product_id in zip(evidence.plan.products, evidence.record.products, strict=True):
        movements = evidence.movements_of_product.get(product_id, [])
        initial = [(position, m.delta) for position, m in enumerate(movements) if m.kind == "initial"]
        if initial != [(0, product.qty)]:
            yield Difference(Breach.STOCK, f"product {product_id}: initial movements {initial}, entered {product.qty}")


def stock_is_never_below_zero(evidence: Evidence) -> Iterator[Difference]:
    """Nothing is sold that is not there: not now, and not after any of the movements."""
    for product_id in evidence.record.products:
        product = evidence.products.get(product_id)
        least = min(chain(evidence.stock_levels(product_id), [product.qty] if product else []), default=0)
        if least < 0:
            yield Difference(Breach.BELOW_ZERO, f"product {product_id}: {least}")


def orders_move_stock_once(evidence: Evidence) -> Iterator[Difference]:
    """Done took its quantity once, rejected nothing; cancelled nothing, or all of it and gave it back."""
    for order_id in {*evidence.orders, *evidence.movements_of_order} - {None}:
        order = evidence.orders.get(order_id) if order_id is not None else None
        movements = evidence.movements_of_order.get(order_id, [])
        if order is None:
            yield Difference(Breach.MOVEMENTS, f"no order {order_id}: {_shown(movements)}", order_id=order_id)
        elif order.status != "pending" and not _allowed(order, movements):
            text = f"order {order.id} ({order.status}, {order.quantity} of product {order.product_id})"
            yield Difference(Breach.MOVEMENTS, f"{text}: {_shown(movements)}", order.trace_id, order.id)
    for movement in evidence.movements_of_order.get(None, ()):
        if movement.kind in {"reserve", "release"}:
            yield Difference(Breach.MOVEMENTS, f"of no order: {_shown([movement])}")


def reservations_agree(evidence: Evidence) -> Iterator[Difference]:
    """Every final order has a reservation of its product and quantity with a fitting outcome; there is no other."""
    for order_id in sorted({*evidence.orders, *evidence.reservations}):
        order, reservation = evidence.orders.get(order_id), evidence.reservations.get(order_id)
        if order is None:
            yield Difference(Breach.RESERVATION, f"no order {order_id}, but {reservation}", order_id=order_id)
        elif reservation is None:
            if order.status != "pending":
                yield _of(order, "none")
        elif (reservation.product_id, reservation.quantity) != (order.product_id, order.quantity):
            yield _of(order, f"{reservation.quantity} of product {reservation.product_id}")
        elif order.status != "pending" and reservation.outcome not in _OUTCOMES[order.status]:
            yield _of(order, f"it is {reservation.outcome}")


def adjustments_happen_once(evidence: Evidence) -> Iterator[Difference]:
    """An adjustment that was answered 200 is one movement, one that was refused none, any other at most one."""
    explained: set[int] = set()
    for request in evidence.requests("adjust"):
        found = _adjustments(evidence, request)
        explained.update(movement.id for movement in found)
        least, most = (1 if request.has_succeeded else 0), (0 if request.is_refused else 1)
        statuses = [attempt.status for attempt in request.attempts]
        if not least <= len(found) <= most or any(m.delta != request.operation.amount for m in found):
            text = f"{request.operation} was answered {statuses}: {_shown(found)}"
            yield Difference(Breach.ADJUSTMENT, text, request.attempts[0].trace_id)
    for movement in evidence.state.movements:
        if movement.kind == "adjustment" and movement.id not in explained:
            text = f"{_shown([movement])} for the reason {movement.reason} was asked for by nobody"
            yield Difference(Breach.ADJUSTMENT, text, order_id=movement.order_id)


def reprices_happen_once(evidence: Evidence) -> Iterator[Difference]:
    """The price is the last one set; the version counts the changes."""
    for index, product_id in enumerate(evidence.record.products):
        product = evidence.products.get(product_id)
        reprices = evidence.reprices.get(index, [])
        least = 1 + sum(request.has_succeeded for request in reprices)
        prices = evidence.prices(index, began=math.inf)
        if product is None:
            yield Difference(Breach.CATALOGUE, f"there is no product {product_id}")
        elif product.price not in prices:
            text = f"product {product_id}: price {product.price}, none of {sorted(map(str, prices))}"
            yield Difference(Breach.CATALOGUE, text)
        elif not least <= product.version <= 1 + len(reprices):
            text = f"product {product_id}: version {product.version} after {least - 1} to {len(reprices)} changes"
            yield Difference(Breach.CATALOGUE, text)


def _allowed(order: Order, movements: Sequence[Movement]) -> bool:
    taken = (order.product_id, "reserve", -order.quantity)
    returned = (order.product_id, "release", order.quantity)
    allowed: Mapping[str, list[list[tuple[int, str, int]]]] = {
        "done": [[taken]],
        "rejected": [[]],
        "cancelled": [[], [taken, returned]],
    }
    found = [(movement.product_id, movement.kind, movement.delta) for movement in movements]
    return found in allowed[order.status]


def _adjustments(evidence: Evidence, request: Request) -> list[Movement]:
    """Their reason is what the clients call the operation."""
    product_id = evidence.product_id(request.operation)
    return [
        movement
        for movement in evidence.movements_of_product.get(product_id, ())
        if movement.kind == "adjustment" and movement.order_id is None and movement.reason == reason_of(request.index)
    ]


def _shown(movements: Sequence[Movement]) -> str:
    return ", ".join(f"{m.kind} of {m.delta} of product {m.product_id}" for m in movements) or "no movements"


def _of(order: Order, text: str) -> Difference:
    told = f"order {order.id} ({order.status}, {order.quantity} of product {order.product_id})"
    return Difference(Breach.RESERVATION, f"{told}, its reservation: {text}", order.trace_id, order.id)
