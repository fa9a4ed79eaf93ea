"""Orders and the decisions about them, without I/O."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from operator import attrgetter

from shared.contracts.requests import OrderStatus
from shared.idempotency import Key


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
    customer_id: str | None
    reference: str | None
    metadata: str | None

    def as_placed(self, metadata: str | None) -> "Order":
        """The order as it was in the answer to the request that placed it, with this metadata."""
        pending = OrderStatus.PENDING.value
        return replace(self, status=pending, reason=None, updated_at=self.created_at, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Product:
    """What an order needs to know of its product; an older release of the product service tells no `uid`."""

    uid: str | None
    price: Decimal


@dataclass(frozen=True, slots=True)
class Labels:
    """What an order means to the shop. A reference is of one order; `metadata` is JSON, None for an empty object."""

    customer_id: str | None = None
    reference: str | None = None
    metadata: str | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """An order before it is stored, with the price that the product has at this moment.

    `uid` tells it from another order that gets the same number from a restored database.
    """

    uid: str
    product_id: int
    product_uid: str | None
    quantity: int
    unit_price: Decimal
    trace_id: str
    traceparent: str
    labels: Labels
    key: Key | None = None

    def placed(self, order_id: int, at: datetime) -> Order:
        """The order as it is stored: to read the row back would cost more than this."""
        price, labels = self.unit_price, (self.labels.customer_id, self.labels.reference, self.labels.metadata)
        what = (self.product_id, self.quantity, price, price * self.quantity)
        return Order(order_id, *what, OrderStatus.PENDING.value, None, self.trace_id, at, at, *labels)


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A status that an order has had, since when, and the trace of the request or event that set it."""

    status: str
    reason: str | None
    trace_id: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Verdict:
    """The product service's decision on an order."""

    order_id: int
    order_uid: str | None
    product_id: int
    status: str
    reason: str | None
    trace_id: str | None


def first_verdicts(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The first verdict on each order, sorted by order id, so that two batches lock rows in the same order."""
    first = {(verdict.order_id, verdict.order_uid): verdict for verdict in reversed(verdicts)}
    return sorted(first.values(), key=attrgetter("order_id"))


def is_final(status: str) -> bool:
    """Whether the product service has decided the order, or a client has cancelled it."""
    return status != OrderStatus.PENDING
