"""Orders and the decisions about them, without I/O."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

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

    def as_placed(self) -> "Order":
        """The order as it was in the answer to the request that placed it."""
        return replace(self, status=OrderStatus.PENDING.value, reason=None, updated_at=self.created_at)


@dataclass(frozen=True, slots=True)
class Draft:
    """An order before it is stored. It keeps the price that the product has at this moment."""

    product_id: int
    quantity: int
    unit_price: Decimal
    trace_id: str
    traceparent: str
    key: Key | None = None


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
    product_id: int
    status: str
    reason: str | None
    trace_id: str | None


def first_verdicts(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The first verdict on each order, sorted by order id, so that two batches lock rows in the same order."""
    first = {verdict.order_id: verdict for verdict in reversed(verdicts)}
    return [first[order_id] for order_id in sorted(first)]


def is_final(status: str) -> bool:
    """Whether the product service has decided the order, or a client has cancelled it."""
    return status != OrderStatus.PENDING
