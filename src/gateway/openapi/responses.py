"""Answers of the HTTP API, as `/openapi.json` describes them; strict: a test that loads an answer sees any change.

The services do not write with them: an answer is made once, from a record.
"""

from enum import StrEnum

from marshmallow import Schema, fields, validate

from shared.contracts.events import Reason
from shared.contracts.fields import MAX_PAGE, MAX_QUANTITY, MAX_STOCK, Cursor, WholeNumber, short_text
from shared.contracts.requests import OrderStatus
from shared.errors import Code
from shared.pagination import MAX_ID

_MAX_VERSION = 2**31 - 1
_STATUSES = [status.value for status in OrderStatus]
_REASONS = [reason.value for reason in Reason]


class MovementKind(StrEnum):
    """Why stock changed: entered with the product, corrected, taken by an order, given back by a cancelled one."""

    INITIAL = "initial"
    ADJUSTMENT = "adjustment"
    RESERVE = "reserve"
    RELEASE = "release"


def _id() -> WholeNumber:
    return WholeNumber(1, MAX_ID, required=True)


def _amount(data_key: str | None = None) -> fields.String:
    return fields.String(required=True, data_key=data_key, validate=validate.Regexp(r"^[0-9]+\.[0-9]{2}$"))


def _time(data_key: str | None = None) -> fields.AwareDateTime:
    return fields.AwareDateTime("iso", required=True, data_key=data_key)


def _status() -> fields.String:
    return fields.String(required=True, validate=validate.OneOf(_STATUSES))


def _reason() -> fields.String:
    return fields.String(required=True, allow_none=True, validate=validate.OneOf(_REASONS))


def _trace_id(*, allow_none: bool = False) -> fields.String:
    return fields.String(
        required=True, data_key="traceId", allow_none=allow_none, validate=validate.Regexp("^[0-9a-f]{32}$")
    )


class Product(Schema):
    """`version` counts the changes of name and price, and is the entity tag."""

    id = _id()
    name = short_text(required=True)
    price = _amount()
    qty = WholeNumber(0, MAX_ID, required=True)  # what cancelled orders give back may exceed what can be entered
    version = WholeNumber(1, _MAX_VERSION, required=True)
    created_at = _time("createdAt")
    updated_at = _time("updatedAt")


class Movement(Schema):
    """A change of stock; the stock of a product is the sum of them."""

    id = _id()
    kind = fields.String(required=True, validate=validate.OneOf([kind.value for kind in MovementKind]))
    delta = WholeNumber(-MAX_STOCK, MAX_STOCK, required=True)
    order_id = WholeNumber(1, MAX_ID, required=True, allow_none=True, data_key="orderId")
    reason = short_text(required=True, allow_none=True)
    created_at = _time("createdAt")


class Order(Schema):
    """Its prices are those of the moment when it was placed."""

    id = _id()
    product_id = WholeNumber(1, MAX_ID, required=True, data_key="productId")
    quantity = WholeNumber(1, MAX_QUANTITY, required=True)
    unit_price = _amount("unitPrice")
    total_price = _amount("totalPrice")
    status = _status()
    reason = _reason()
    trace_id = _trace_id()
    created_at = _time("createdAt")
    updated_at = _time("updatedAt")


class HistoryEntry(Schema):
    """A status that the order has had, since when, and the trace that brought it."""

    status = _status()
    reason = _reason()
    trace_id = _trace_id(allow_none=True)
    created_at = _time("createdAt")


class Page(Schema):
    """`next` is the cursor of the next page, null on the last."""

    limit = WholeNumber(1, MAX_PAGE, required=True)
    next = Cursor(required=True, allow_none=True)


class Liveness(Schema):
    """The process answers."""

    status = fields.String(required=True, validate=validate.OneOf(["live"]))


class Readiness(Schema):
    """Whether the process should be sent requests, and the state of each part that it needs."""

    status = fields.String(required=True, validate=validate.OneOf(["ready", "not_ready", "draining"]))
    checks = fields.Dict(
        keys=fields.String(), values=fields.String(validate=validate.OneOf(["ok", "down"])), required=True
    )
    failed_tasks = fields.List(fields.String(), data_key="failedTasks")


class FieldError(Schema):
    """A refused field of the body, the query, the path or the headers."""

    field = fields.String(required=True)
    message = fields.String(required=True)


class Problem(Schema):
    """What went wrong; `code` is for programs, `message` for people."""

    code = fields.String(required=True, validate=validate.OneOf([code.value for code in Code]))
    message = fields.String(required=True)
    details = fields.List(fields.Nested(FieldError), validate=validate.Length(min=1))


class Envelope(Schema):
    """What every answer has around its data."""

    status_code = WholeNumber(200, 599, required=True, data_key="statusCode")
    trace_id = _trace_id()
    timestamp = _time()
    path = fields.String(required=True)


class Failure(Envelope):
    """Any answer with a status from 400 on."""

    status_code = WholeNumber(400, 599, required=True, data_key="statusCode")
    data = fields.Raw(required=True, allow_none=True, validate=validate.OneOf([None]))
    error = fields.Nested(Problem, required=True)


class Paged(Envelope):
    """A list with its place; `page.next` is given again in the header `Link`."""

    page = fields.Nested(Page, required=True)


class ProductAnswer(Envelope):
    """One product."""

    data = fields.Nested(Product, required=True)


class ProductsPage(Paged):
    """Products, newest first."""

    data = fields.List(fields.Nested(Product), required=True, validate=validate.Length(max=MAX_PAGE))


class MovementsPage(Paged):
    """Changes of a product's stock, newest first."""

    data = fields.List(fields.Nested(Movement), required=True, validate=validate.Length(max=MAX_PAGE))


class OrderAnswer(Envelope):
    """One order."""

    data = fields.Nested(Order, required=True)


class OrdersPage(Paged):
    """Orders, newest first."""

    data = fields.List(fields.Nested(Order), required=True, validate=validate.Length(max=MAX_PAGE))


class HistoryAnswer(Envelope):
    """The statuses of an order, oldest first."""

    data = fields.List(fields.Nested(HistoryEntry), required=True, validate=validate.Length(min=1))


class LivenessAnswer(Envelope):
    """The process lives."""

    data = fields.Nested(Liveness, required=True)


class ReadinessAnswer(Envelope):
    """The process is ready, or is not and gives the same data with 503."""

    data = fields.Nested(Readiness, required=True)
