"""Orders and the decisions about them, without I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from operator import attrgetter
from typing import NamedTuple

import orjson
from uuid_utils import uuid7

from shared.contracts.requests import OrderStatus
from shared.errors import AppError, Code, Detail, invalid_field
from shared.idempotency import Key
from shared.tracing import Trace

# What the column holds.
MAX_TOTAL = Decimal("9999999999999999.99")


class Order(NamedTuple):
    """An order of several products has no `product_id`, `quantity` and `unit_price` but `lines`, a JSON array.

    `expires_at` is the end of its hold. `shortages` is the JSON array of what it could not get.
    """

    id: int
    product_id: int | None
    quantity: int | None
    unit_price: Decimal | None
    total_price: Decimal
    status: str
    reason: str | None
    trace_id: str
    created_at: datetime
    updated_at: datetime
    customer_id: str | None
    reference: str | None
    metadata: str | None
    lines: str | None
    expires_at: datetime | None
    shortages: str | None = None

    @property
    def product_ids(self) -> list[int]:
        return product_ids(self.product_id, self.lines)

    def as_placed(self, terms: "Terms") -> "Order":
        """The order as it was in the answer to the request with these terms, which placed it."""
        pending, at = OrderStatus.PENDING.value, self.created_at
        end = at + timedelta(seconds=terms.hold_seconds) if terms.hold_seconds else None
        first = self._replace(status=pending, reason=None, shortages=None, updated_at=at)
        return first._replace(metadata=terms.metadata, expires_at=end)


@dataclass(frozen=True, slots=True)
class Product:
    """What an order needs to know of its product; an older release of the product service tells no `uid`."""

    uid: str | None
    price: Decimal


class Line(NamedTuple):
    """What is ordered of a product, with the price that the customer has seen, if the request says it.

    `field` is where it stands in the request: "" or "lines.3.".
    """

    product_id: int
    quantity: int
    unit_price: Decimal | None = None
    field: str = ""


class Terms(NamedTuple):
    """What else a request says of an order. A reference is of one order; `metadata` is JSON, None for an empty object.

    With `hold_seconds` the order expires unless it is confirmed.
    """

    customer_id: str | None = None
    reference: str | None = None
    metadata: str | None = None
    hold_seconds: int | None = None


class Draft(NamedTuple):
    """An order before it is stored, with the prices that its products have at this moment.

    `uid` tells it from another order that gets the same number from a restored database. Like an Order it has either
    a product or `lines`.
    """

    uid: str
    product_id: int | None
    product_uid: str | None
    quantity: int | None
    unit_price: Decimal | None
    total_price: Decimal
    lines: str | None
    trace_id: str
    traceparent: str
    terms: Terms
    key: Key | None = None

    def placed(self, order_id: int, at: datetime) -> Order:
        """The order as it is stored: to read the row back would cost more than this."""
        terms = self.terms
        end = None if terms.hold_seconds is None else at + timedelta(seconds=terms.hold_seconds)
        what = (self.product_id, self.quantity, self.unit_price, self.total_price)
        labels = (terms.customer_id, terms.reference, terms.metadata)
        return Order(order_id, *what, OrderStatus.PENDING.value, None, self.trace_id, at, at, *labels, self.lines, end)


def check_lines(lines: Sequence[Line], products: Mapping[int, Product]) -> None:
    """Raises AppError NOT_FOUND, PRICE_CHANGED with a detail for each line that is refused."""
    unknown = [line for line in lines if line.product_id not in products]
    if unknown:
        details = [Detail(f"{line.field}productId", "There is no such product.") for line in unknown]
        raise AppError(Code.NOT_FOUND, f"There is no product {unknown[0].product_id}", details=details)
    changed = [
        Detail(f"{line.field}unitPrice", f"The price is {products[line.product_id].price:.2f}.")
        for line in lines
        if line.unit_price not in (None, products[line.product_id].price)
    ]
    if changed:
        raise AppError(Code.PRICE_CHANGED, details=changed)


def draft(
    lines: Sequence[Line], products: Mapping[int, Product], terms: Terms, trace: Trace, key: Key | None
) -> Draft:
    """`products` has the product of each line. Raises AppError VALIDATION_ERROR if the total cannot be stored."""
    of_trace = (trace.trace_id, trace.traceparent, terms, key)
    if len(lines) == 1:
        [line] = lines
        product = products[line.product_id]
        what = (line.product_id, product.uid, line.quantity, product.price, product.price * line.quantity)
        return Draft(str(uuid7()), *what, None, *of_trace)
    total = sum((products[line.product_id].price * line.quantity for line in lines), Decimal(0))
    if total > MAX_TOTAL:
        raise invalid_field("lines", f"The total must be at most {MAX_TOTAL}.")
    content = [
        {
            "productId": line.product_id,
            "productUid": products[line.product_id].uid,
            "quantity": line.quantity,
            "unitPrice": f"{products[line.product_id].price:.2f}",
        }
        for line in lines
    ]
    return Draft(str(uuid7()), None, None, None, None, total, orjson.dumps(content).decode(), *of_trace)


def product_ids(product_id: int | None, lines: str | None) -> list[int]:
    """Of an order that has the one or the other."""
    return [line["productId"] for line in orjson.loads(lines or "[]")] if product_id is None else [product_id]


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A status that an order has had, since when, and the trace of the request or event that set it."""

    status: str
    reason: str | None
    trace_id: str | None
    created_at: datetime
    shortages: str | None = None


class Verdict(NamedTuple):
    """The product service's decision on an order, which has a `product_id` if it has one product."""

    order_id: int
    order_uid: str | None
    product_id: int | None
    product_ids: Sequence[int]
    status: str
    reason: str | None
    shortages: str | None
    trace_id: str | None


def first_verdicts(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The first verdict on each order, sorted by order id, so that two batches lock rows in the same order."""
    first = {(verdict.order_id, verdict.order_uid): verdict for verdict in reversed(verdicts)}
    return sorted(first.values(), key=attrgetter("order_id"))


def is_final(status: str) -> bool:
    """Whether nothing but a cancellation can change the order any more; False for a status of a newer release."""
    return status in (OrderStatus.DONE, OrderStatus.REJECTED, OrderStatus.EXPIRED, OrderStatus.CANCELLED)
