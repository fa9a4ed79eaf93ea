"""Decides, without I/O, what `repair` does next about an order and its reservation, and says why."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from ops.differences import Order, Reservation, another, compare


class Step(StrEnum):
    NUMBERS = "numbers"
    STOCK = "stock"
    MOVE = "move"
    RELEASE = "release"
    NOTE = "note"
    CANCEL = "cancel"
    ANNOUNCE = "announce"
    RESERVE = "reserve"
    # Listed only: a person decides.
    OVERSOLD = "oversold"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Action:
    """A step and why: done, to be done, or listed. `delta` is by what it changes the stock of the product."""

    step: Step
    why: str
    order_id: int | None = None
    product_id: int | None = None
    delta: int = 0
    trace_id: str | None = None


class Product(NamedTuple):
    id: int
    qty: int
    uid: UUID | None = None


def next_action(
    order: Order | None, reservation: Reservation | None, product: Product | None, older_than: float
) -> Action | None:
    """None if the two agree, or may agree by themselves within `older_than` seconds.

    `product` is the one that has the number of the order's.
    """
    if compare(order, reservation, older_than) is None:
        return None
    if reservation is not None and (order is None or another(order, reservation)):
        step, trace_id = (Step.RELEASE, None) if order is None else (Step.MOVE, order.trace_id)
        why = f"reservation {reservation.outcome}, its order is lost"
        delta = reservation.quantity if reservation.outcome == "reserved" else 0
        return Action(step, why, reservation.order_id, reservation.product_id, delta, trace_id)
    if order is None:
        return None
    outcome = reservation.outcome if reservation is not None else None
    step, delta, more = _agreeing(order, outcome, product)
    why = f"order {order.status}, {'no reservation' if outcome is None else f'reservation {outcome}'}{more}"
    return Action(step, why, order.id, order.product_id, delta, order.trace_id)


def _agreeing(order: Order, outcome: str | None, product: Product | None) -> tuple[Step, int, str]:
    """The step, the change of the stock, and what is to be added to the reason."""
    match order.status, outcome:
        case "pending" | "done", "released":
            return Step.CANCEL, 0, ""
        case "pending", _:
            return Step.ANNOUNCE, 0, f", for {order.seconds:.0f} s"
        case "rejected" | "cancelled", _:
            return (Step.RELEASE, order.quantity, "") if outcome else (Step.NOTE, 0, "")
    if product is None or (None not in (product.uid, order.product_uid) and product.uid != order.product_uid):
        return Step.OVERSOLD, 0, ", its product is lost"
    if product.qty < order.quantity:
        return Step.OVERSOLD, 0, f", needs {order.quantity}, {product.qty} in stock"
    return Step.RESERVE, -order.quantity, ""
