"""The answers of the HTTP API, as `/openapi.json` describes them.

They are strict, so that a test that loads an answer sees any change. The services do not write answers with them.
"""

from collections.abc import Iterable
from typing import Any

from marshmallow import Schema, fields, validate

from shared.contracts.events import Reason
from shared.contracts.fields import (
    MAX_LINES,
    MAX_PAGE,
    MAX_QUANTITY,
    MAX_STOCK,
    Cursor,
    Metadata,
    WholeNumber,
    short_text,
    stored_text,
)
from shared.contracts.requests import OrderStatus
from shared.errors import Code
from shared.pagination import MAX_ID

_MAX_VERSION = 2**31 - 1


def _id(data_key: str | None = None, *, allow_none: bool = False) -> WholeNumber:
    return WholeNumber(1, MAX_ID, required=True, allow_none=allow_none, data_key=data_key, metadata={"examples": [42]})


def _amount(example: str, data_key: str | None = None, **options: Any) -> fields.String:
    two_places = validate.Regexp(r"^[0-9]+\.[0-9]{2}$")
    return fields.String(
        required=True, data_key=data_key, validate=two_places, metadata={"examples": [example]}, **options
    )


def _time(data_key: str | None = None, *, allow_none: bool = False) -> fields.AwareDateTime:
    examples = [None if allow_none else "2026-11-23T09:15:02.318745Z"]
    return fields.AwareDateTime(
        "iso", required=True, data_key=data_key, allow_none=allow_none, metadata={"examples": examples}
    )


def _one_of(values: Iterable[str], **options: Any) -> fields.String:
    return fields.String(required=True, validate=validate.OneOf([str(value) for value in values]), **options)


def _trace_id(*, allow_none: bool = False) -> fields.String:
    return fields.String(
        required=True,
        data_key="traceId",
        allow_none=allow_none,
        validate=validate.Regexp("^[0-9a-f]{32}$"),
        metadata={"examples": ["0af7651916cd43dd8448eb211c80319c"]},
    )


# marshmallow copies the fields of a class for each schema.
_STATUS = _one_of(OrderStatus)
_REJECTION = _one_of(Reason, allow_none=True, metadata={"examples": [None]})


class Product(Schema):
    """`version` counts the changes of name and price; the ETag is made of it.

    `uid` tells a product from one that gets the same id later, when a database had to be restored. `qty` is free to
    sell; `held` is what orders hold that are not confirmed yet.
    """

    id = _id()
    uid = fields.UUID(required=True, metadata={"examples": ["1b4e28ba-2fa1-41d2-883f-0016d3cca427"]})
    name = stored_text(required=True, metadata={"examples": ["Desk lamp"]})
    price = _amount("19.90")
    # What cancelled orders return may exceed what can be entered.
    qty = WholeNumber(0, MAX_ID, required=True, metadata={"examples": [100]})
    held = WholeNumber(0, MAX_ID, required=True, metadata={"examples": [0]})
    version = WholeNumber(1, _MAX_VERSION, required=True, metadata={"examples": [1]})
    created_at = _time("createdAt")
    updated_at = _time("updatedAt")


class Movement(Schema):
    """A change of a product's stock, which is the sum of them: entered with the product, corrected, or by an order.

    One of the kind `archived` is the sum of those of all orders that were archived, and has the id 0.
    """

    id = WholeNumber(0, MAX_ID, required=True, metadata={"examples": [42]})
    kind = _one_of(["initial", "adjustment", "reserve", "release", "archived"], metadata={"examples": ["reserve"]})
    delta = WholeNumber(-MAX_STOCK, MAX_STOCK, required=True, metadata={"examples": [-2]})
    order_id = _id("orderId", allow_none=True)
    reason = stored_text(required=True, allow_none=True, metadata={"examples": [None]})
    created_at = _time("createdAt")


class PlacedLine(Schema):
    """A product of an order, with its price at the moment when the order was placed."""

    product_id = _id("productId")
    quantity = WholeNumber(1, MAX_QUANTITY, required=True, metadata={"examples": [2]})
    unit_price = _amount("19.90", "unitPrice")
    total_price = _amount("39.80", "totalPrice")


class Shortage(Schema):
    """A line that could not be served, and the stock that there was."""

    product_id = _id("productId")
    requested = WholeNumber(1, MAX_QUANTITY, required=True, metadata={"examples": [2]})
    available = WholeNumber(0, MAX_ID, required=True, metadata={"examples": [1]})


def _shortages() -> fields.List[Any]:
    return fields.List(fields.Nested(Shortage), required=True, metadata={"examples": [[]]})


class Order(Schema):
    """An order; its prices are those of the moment when it was placed, `updatedAt` is when it got its status.

    `productId`, `quantity` and `unitPrice` are those of the only line, and null where there are several. `shortages`
    holds the lines for which a rejected order was rejected. `expiresAt` is the end of its hold, null without one.
    `customerId` and `reference` are null, and `metadata` is empty, where the client has given none.
    """

    id = _id()
    lines = fields.List(fields.Nested(PlacedLine), required=True, validate=validate.Length(min=1, max=MAX_LINES))
    product_id = _id("productId", allow_none=True)
    quantity = WholeNumber(1, MAX_QUANTITY, required=True, allow_none=True, metadata={"examples": [2]})
    unit_price = _amount("19.90", "unitPrice", allow_none=True)
    total_price = _amount("39.80", "totalPrice")
    status = _STATUS
    reason = _REJECTION
    shortages = _shortages()
    expires_at = _time("expiresAt", allow_none=True)
    trace_id = _trace_id()
    created_at = _time("createdAt")
    updated_at = _time("updatedAt")
    customer_id = short_text(required=True, allow_none=True, data_key="customerId", metadata={"examples": [None]})
    reference = short_text(required=True, allow_none=True, metadata={"examples": ["A-2026-00042"]})
    metadata = Metadata(required=True, metadata={"examples": [{"channel": "app"}]})


class HistoryEntry(Schema):
    """A status that the order has had, the time since when it had it, and the trace that caused it."""

    status = _STATUS
    reason = _REJECTION
    shortages = _shortages()
    trace_id = _trace_id(allow_none=True)
    created_at = _time("createdAt")


class Page(Schema):
    """`next` is the cursor of the next page; it is null on the last page."""

    limit = WholeNumber(1, MAX_PAGE, required=True, metadata={"examples": [50]})
    next = Cursor(required=True, allow_none=True)


class Liveness(Schema):
    """The process answers."""

    status = _one_of(["live"])


class Readiness(Schema):
    """Whether the process can take requests, and the state of each part that it needs."""

    status = _one_of(["ready", "not_ready", "draining"])
    checks = fields.Dict(
        keys=fields.String(),
        values=fields.String(validate=validate.OneOf(["ok", "down"])),
        required=True,
        metadata={"examples": [{"products": "ok", "orders": "ok"}]},
    )


class FieldError(Schema):
    """A refused field of the body, the query, the path or the headers."""

    field = fields.String(required=True, metadata={"examples": ["quantity"]})
    message = fields.String(required=True, metadata={"examples": [f"Must be an integer from 1 to {MAX_QUANTITY}."]})


class Problem(Schema):
    """What went wrong; `code` is for programs, `message` for people."""

    code = _one_of(Code)
    message = fields.String(required=True)
    details = fields.List(fields.Nested(FieldError), validate=validate.Length(min=1))


class Envelope(Schema):
    """The fields that every answer has around its data."""

    status_code = WholeNumber(200, 599, required=True, data_key="statusCode")
    trace_id = _trace_id()
    timestamp = _time()
    path = fields.String(required=True, metadata={"examples": ["/products/42"]})


class Failure(Envelope):
    """An answer with a status of 400 or more."""

    status_code = WholeNumber(400, 599, required=True, data_key="statusCode")
    data = fields.Raw(required=True, allow_none=True, validate=validate.OneOf([None]))
    error = fields.Nested(Problem, required=True)


class Paged(Envelope):
    """A page of a list; the header `Link` repeats `page.next` as an address."""

    page = fields.Nested(Page, required=True)


class ProductAnswer(Envelope):
    data = fields.Nested(Product, required=True)


class ProductsPage(Paged):
    data = fields.List(fields.Nested(Product), required=True, validate=validate.Length(max=MAX_PAGE))


class MovementsPage(Paged):
    data = fields.List(fields.Nested(Movement), required=True, validate=validate.Length(max=MAX_PAGE))


class OrderAnswer(Envelope):
    data = fields.Nested(Order, required=True)


class OrdersPage(Paged):
    data = fields.List(fields.Nested(Order), required=True, validate=validate.Length(max=MAX_PAGE))


class HistoryAnswer(Envelope):
    data = fields.List(fields.Nested(HistoryEntry), required=True, validate=validate.Length(min=1))


class LivenessAnswer(Envelope):
    data = fields.Nested(Liveness, required=True)


class ReadinessAnswer(Envelope):
    data = fields.Nested(Readiness, required=True)
