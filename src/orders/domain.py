"""What an order is: decided without any I/O."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from shared.contracts.requests import OrderStatus
from shared.idempotency import Key


@dataclass(frozen=True, slots=True)
class Product:
    """What an order needs to know of a product."""

    id: int
    price: Decimal


@dataclass(frozen=True, slots=True)
class Draft:
    """An order before it is stored; the price is the product's at this moment and stays the order's."""

    product_id: int
    quantity: int
    unit_price: Decimal
    trace_id: str
    traceparent: str
    key: Key | None = None


@dataclass(frozen=True, slots=True)
class Order:
    id: int
    product_id: int
    quantity: int
    unit_price: Decimal
    total_price: Decimal
    status: str
    reason: str | None
    trace_id: str
    created_at: datetime
    updated_at: datetime

    @property
    def is_final(self) -> bool:
        """Whether the product service has decided it, or somebody has cancelled it."""
        return self.status != OrderStatus.PENDING

    def as_placed(self) -> "Order":
        """As it was in the answer to the request that placed it."""
        return replace(self, status=OrderStatus.PENDING.value, reason=None, updated_at=self.created_at)

    def as_json(self) -> dict[str, Any]:
        """What the API shows."""
        return {
            "id": self.id,
            "productId": self.product_id,
            "quantity": self.quantity,
            "unitPrice": f"{self.unit_price:.2f}",
            "totalPrice": f"{self.total_price:.2f}",
            "status": self.status,
            "reason": self.reason,
            "traceId": self.trace_id,
            "createdAt": self.created_at,
            "updatedAt": self.updated_at,
        }


@dataclass(frozen=True, slots=True)
class Entry:
    """A status that an order has had, since when, and the trace that brought it."""

    status: str
    reason: str | None
    trace_id: str | None
    created_at: datetime

    def as_json(self) -> dict[str, Any]:
        """What the API shows."""
        return {
            "status": self.status,
            "reason": self.reason,
            "traceId": self.trace_id,
            "createdAt": self.created_at,
        }


@dataclass(frozen=True, slots=True)
class Pending:
    """An order that waits for its verdict, for `age` seconds now."""

    id: int
    trace_id: str
    age: float


@dataclass(frozen=True, slots=True)
class Change:
    """An order has got another status."""

    order_id: int
    product_id: int
    status: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the product service decided of an order."""

    order_id: int
    product_id: int
    status: str
    reason: str | None
    trace_id: str | None


def placed(draft: Draft, order_id: int, at: datetime) -> Order:
    """The order that a stored draft is."""
    return Order(
        id=order_id,
        product_id=draft.product_id,
        quantity=draft.quantity,
        unit_price=draft.unit_price,
        total_price=draft.unit_price * draft.quantity,
        status=OrderStatus.PENDING.value,
        reason=None,
        trace_id=draft.trace_id,
        created_at=at,
        updated_at=at,
    )


def first_verdicts(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """One for each order, the first, in the order of the ids: so that two batches lock rows in the same order."""
    by_order: dict[int, Verdict] = {}
    for verdict in verdicts:
        by_order.setdefault(verdict.order_id, verdict)
    return [by_order[order_id] for order_id in sorted(by_order)]


def is_final(history: Sequence[Entry]) -> bool:
    """Of a history, oldest first, that is not empty."""
    return history[-1].status != OrderStatus.PENDING
