"""Decides, without I/O, what `repair` does next about an order and its reservation, and says why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from ops.differences import Kind, Line, Order, Reservation, another, compare, has_stock, only_product


class Step(StrEnum):
    NUMBERS = "numbers"
    STOCK = "stock"
    HELD = "held"
    MOVE = "move"
    RELEASE = "release"
    NOTE = "note"
    CANCEL = "cancel"
    CONFIRM = "confirm"
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


def next_step(
    order: Order | None, reservation: Reservation | None, products: Mapping[int, Product], older_than: float
) -> list[Action]:
    """The actions of one step: one for each line whose stock it changes or that is oversold, or one for the order.

    None of them if the two agree, or may agree by themselves within `older_than` seconds, or if a newer release has
    written one. `products` are those that have the numbers of the order's.
    """
    difference = compare(order, reservation, older_than)
    if difference is None or difference.kind is Kind.NEWER:
        return []
    outcome = reservation.outcome if reservation is not None else None
    if reservation is not None and (order is None or another(order, reservation)):
        step, trace_id = (Step.RELEASE, None) if order is None else (Step.MOVE, order.trace_id)
        action = Action(step, f"reservation {outcome}, its order is lost", reservation.order_id, trace_id=trace_id)
        return _of_lines(action, reservation.lines, int(has_stock(reservation)))
    if order is None:
        return []
    why = f"order {order.status}, {'no reservation' if outcome is None else f'reservation {outcome}'}"
    action = Action(_agreeing(order.status, outcome), why, order.id, trace_id=order.trace_id)
    match action.step:
        case Step.ANNOUNCE:
            action = replace(action, why=f"{why}, for {order.seconds:.0f} s")
        case Step.RELEASE:
            return _of_lines(action, order.lines, +1)
        case Step.RESERVE:
            lacks = [(line, lack) for line in order.lines if (lack := _lack(line, products.get(line.product_id)))]
            oversold = replace(action, step=Step.OVERSOLD)
            named = [replace(oversold, product_id=line.product_id, why=f"{why}, {lack}") for line, lack in lacks]
            return named or _of_lines(action, order.lines, -1)
    return _of_lines(action, order.lines, 0)


def _agreeing(status: str, outcome: str | None) -> Step:
    match status, outcome:
        case ("archived", _) | (_, "archived"):
            return Step.LEFT
        case "pending" | "held" | "done", "released":
            return Step.CANCEL
        case "pending", _:
            return Step.ANNOUNCE
        case ("held" | "expired", "reserved") | ("done", "held"):
            return Step.CONFIRM
        case "rejected" | "cancelled" | "expired", _:
            return Step.RELEASE if outcome else Step.NOTE
    return Step.RESERVE


def _lack(line: Line, product: Product | None) -> str | None:
    if product is None or (None not in (product.uid, line.product_uid) and product.uid != line.product_uid):
        return "its product is lost"
    return f"needs {line.quantity}, {product.qty} in stock" if product.qty < line.quantity else None


def _of_lines(action: Action, lines: Sequence[Line], sign: int) -> list[Action]:
    """`sign` is that of the changes of the stock, 0 if there are none."""
    if not sign:
        return [replace(action, product_id=only_product(lines))]
    return [replace(action, product_id=line.product_id, delta=sign * line.quantity) for line in lines]
