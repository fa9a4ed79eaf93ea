"""Decides, without I/O, how an order and its reservation differ."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID


class Kind(StrEnum):
    STOCK = "stock"
    BELOW_ZERO = "below_zero"
    HELD = "held"
    MOVEMENTS = "movements"
    HISTORY = "history"
    ORDER_WITHOUT_RESERVATION = "order_without_reservation"
    RESERVATION_WITHOUT_ORDER = "reservation_without_order"
    PRODUCT_OR_QUANTITY = "product_or_quantity"
    IDENTITY = "identity"
    STATUS = "status"
    UNFINISHED = "unfinished"
    NEWER = "newer"


class Line(NamedTuple):
    """An older release has left no `product_uid`, nor the `uid` of an order."""

    product_id: int
    quantity: int
    product_uid: UUID | None = None


class Order(NamedTuple):
    """`seconds` is the time since its status last changed, `content` JSON of its rows. No lines: it is archived."""

    id: int
    lines: tuple[Line, ...]
    status: str
    trace_id: str
    seconds: float
    uid: UUID | None = None
    content: str = ""


class Reservation(NamedTuple):
    """Of all lines of an order. Its outcome is `held` until an order that it is reserved for is confirmed."""

    order_id: int
    lines: tuple[Line, ...]
    outcome: str
    uid: UUID | None = None
    content: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference of a product or an order; `order_id` is also None for movements that name no order."""

    kind: Kind
    found: str
    expected: str
    product_id: int | None = None
    order_id: int | None = None
    trace_id: str | None = None

    @property
    def key(self) -> tuple[Kind, int | None, int | None]:
        """The same difference has the same key at each look."""
        subject = (self.product_id, None) if self.order_id is None else (None, self.order_id)
        return (self.kind, *subject)


ARCHIVED = "archived"
# A pending order may have any outcome, because the answer is still on its way.
_OUTCOMES: Mapping[str, tuple[str, ...]] = {
    "held": ("held",),
    "done": ("reserved",),
    "rejected": ("rejected", "released"),
    "cancelled": ("released", "rejected"),
    "expired": ("released", "rejected"),
    ARCHIVED: (ARCHIVED, "reserved", "released", "rejected"),  # orders-db comes first
}
_MOVEMENTS: Mapping[str | None, str] = {
    "reserved": "one reserve of {}",
    "released": "one reserve and one release of {}, or none",
    "rejected": "none",
    ARCHIVED: "none",
}


def compare(order: Order | None, reservation: Reservation | None, older_than: float) -> Difference | None:
    """The difference of one order, or None; UNFINISHED if it is pending for longer than `older_than` seconds."""
    if order is None:
        # One that holds no stock does no harm.
        return _orderless(reservation) if reservation is not None and has_stock(reservation) else None
    outcome = reservation.outcome if reservation is not None else None
    # Whether those of a newer release agree is not known here.
    if order.status not in ("pending", *_OUTCOMES) or outcome not in (None, "held", *_MOVEMENTS):
        return _difference(Kind.NEWER, order, reservation, "a status and an outcome that this release knows")
    if reservation is not None and (kind := another(order, reservation)):
        return _difference(kind, order, reservation, "a reservation of this order")
    if order.status == "pending":
        expected = f"decided or cancelled within {older_than:g} s"
        return _difference(Kind.UNFINISHED, order, reservation, expected) if order.seconds > older_than else None
    outcomes = _OUTCOMES[order.status]
    awaits_event = order.status in ("cancelled", "expired") or (order.status, outcome) == ("done", "held")
    if outcome in outcomes or (awaits_event and order.seconds <= older_than):
        return None
    kind = Kind.ORDER_WITHOUT_RESERVATION if reservation is None else Kind.STATUS
    return _difference(kind, order, reservation, f"a reservation that is {' or '.join(outcomes)}")


def another(order: Order, reservation: Reservation) -> Kind | None:
    """How the two are not of the same order, though they have the same number; None if they are.

    It is the rule of the product service: where an older release placed the order, products and quantities must do.
    """
    if order.uid and reservation.uid and order.uid != reservation.uid:
        return Kind.IDENTITY
    if ARCHIVED in (order.status, reservation.outcome):
        return None
    same = [line[:2] for line in order.lines] == [line[:2] for line in reservation.lines]
    return None if same else Kind.PRODUCT_OR_QUANTITY


def has_stock(reservation: Reservation) -> bool:
    return reservation.outcome in ("reserved", "held")


def only_product(lines: Sequence[Line]) -> int | None:
    """None if there are several."""
    return lines[0].product_id if len(lines) == 1 else None


def expected_movements(outcome: str | None, lines: Iterable[Line]) -> str:
    """Describes the movements that a reservation asks for; without an outcome there is no reservation."""
    return _MOVEMENTS.get(outcome, "a reservation").format(_described(lines))


async def pairs(
    orders: AsyncIterator[Order], reservations: AsyncIterator[Reservation]
) -> AsyncIterator[tuple[Order | None, Reservation | None]]:
    """Merges two streams that are sorted by order id; an order or a reservation without a partner comes with None."""
    order, reservation = await anext(orders, None), await anext(reservations, None)
    while order is not None or reservation is not None:
        if reservation is None or (order is not None and order.id < reservation.order_id):
            yield order, None
            order = await anext(orders, None)
        elif order is None or reservation.order_id < order.id:
            yield None, reservation
            reservation = await anext(reservations, None)
        else:
            yield order, reservation
            order, reservation = await anext(orders, None), await anext(reservations, None)


def _orderless(reservation: Reservation) -> Difference:
    return Difference(
        kind=Kind.RESERVATION_WITHOUT_ORDER,
        found=f"reservation {reservation.outcome}, no order",
        expected=f"an order of {_described(reservation.lines)}",
        product_id=only_product(reservation.lines),
        order_id=reservation.order_id,
    )


def _difference(kind: Kind, order: Order, reservation: Reservation | None, expected: str) -> Difference:
    found = f"order {order.status} for {order.seconds:.0f} s, "
    found += "no reservation" if reservation is None else f"reservation {reservation.outcome}"
    if reservation is not None and kind is Kind.PRODUCT_OR_QUANTITY:
        found = f"order of {_described(order.lines)}, reservation of {_described(reservation.lines)}"
    elif reservation is not None and kind is Kind.IDENTITY:
        found = f"order {order.status}, reservation {reservation.outcome} of another order, {reservation.uid}"
    return Difference(kind, found, expected, only_product(order.lines), order.id, order.trace_id or None)


def _described(lines: Iterable[Line]) -> str:
    return ", ".join(f"{line.quantity} of product {line.product_id}" for line in lines)
