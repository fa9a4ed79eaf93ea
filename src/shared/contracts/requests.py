"""Bodies and queries of the HTTP API; the gateway and the services check the same schemas."""

from enum import StrEnum
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from shared.contracts.fields import (
    DEFAULT_PAGE,
    MAX_HOLD,
    MAX_LINES,
    MAX_PAGE,
    MAX_QUANTITY,
    MAX_STOCK,
    MAX_WAIT,
    Cursor,
    Metadata,
    OneOrSeveral,
    Price,
    QueryInteger,
    QueryIntegers,
    WholeNumber,
    short_text,
)
from shared.contracts.plain import PlainSchema
from shared.pagination import MAX_ID

_NOT_ZERO = validate.NoneOf([0], error="Must not be 0.")
# What the API documents show of a field beside its limits.
_ID = {"examples": [42]}
_NAME = {"examples": ["Desk lamp"]}
_IDS = {
    "description": f"Selects the products with these ids, at most {MAX_LINES} with commas between, in this order. "
    "Those that do not exist are left out.",
    "examples": ["1,2,3"],
}
_HOLD = {
    "description": "The seconds from now after which the order expires, unless it is confirmed.",
    "examples": [900],
}
_LINES = {"description": "The products of the order, each once.", "examples": [[{"productId": 42, "quantity": 2}]]}
_PAIRS = {"examples": [{"channel": "app"}]}
_LIMIT = {"description": "The largest number of items on the page."}
_CURSOR = {"description": "Where the page begins: the `page.next` of the page before it."}
_WAIT = {"description": f"The seconds to wait for an order that is still pending, at most {MAX_WAIT}."}
_STATUS = {"description": "Selects the orders with this status."}
_PRODUCT = {"description": "Selects the orders of this product."}
_CUSTOMER = {"description": "Selects the orders of this customer.", "examples": ["customer-17"]}
_REFERENCE = {"description": "Selects the order with this reference.", "examples": ["A-2026-00042"]}


class OrderStatus(StrEnum):
    """`pending → done | rejected`, or with a hold `pending → held → done | expired`.

    `pending | held | done → cancelled`.
    """

    PENDING = "pending"
    HELD = "held"
    DONE = "done"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class CreateProduct(Schema):
    """The body of `POST /products`."""

    name = short_text(required=True, metadata=_NAME)
    price = Price(required=True)
    qty = WholeNumber(0, MAX_STOCK, required=True, metadata={"examples": [100]})


class ChangeProduct(Schema):
    """The body of `PATCH /products/{id}`; a field that is missing stays as it is."""

    name = short_text(metadata=_NAME)
    price = Price()

    @validates_schema
    def _changes_something(self, content: dict[str, Any], **_: Any) -> None:
        if not content:
            raise ValidationError("Must hold a name or a price.")


class AdjustStock(Schema):
    """The body of `POST /products/{id}/stock`."""

    delta = WholeNumber(-MAX_STOCK, MAX_STOCK, required=True, validate=_NOT_ZERO, metadata={"examples": [-3]})
    reason = short_text(required=True, metadata={"examples": ["damaged in the warehouse"]})


class OrderLine(Schema):
    """A product of an order; with a `unitPrice` the order is refused if the product has another price."""

    product_id = WholeNumber(1, MAX_ID, required=True, data_key="productId", metadata=_ID)
    quantity = WholeNumber(1, MAX_QUANTITY, required=True, metadata={"examples": [2]})
    unit_price = Price(data_key="unitPrice")


class _Terms(Schema):
    hold_seconds = WholeNumber(1, MAX_HOLD, data_key="holdSeconds", metadata=_HOLD)
    customer_id = short_text(data_key="customerId", metadata={"examples": ["customer-17"]})
    reference = short_text(metadata={"description": "No other order has it.", "examples": ["A-2026-00042"]})
    metadata = Metadata(metadata=_PAIRS)


class CreateOrderOfLines(_Terms):
    """An order of one product or of several, each once."""

    lines = fields.List(
        fields.Nested(OrderLine), required=True, validate=validate.Length(min=1, max=MAX_LINES), metadata=_LINES
    )

    @validates_schema
    def _has_each_product_once(self, content: dict[str, Any], **_: Any) -> None:
        product_ids = [line["product_id"] for line in content["lines"]]
        again = [position for position, id_ in enumerate(product_ids) if id_ in product_ids[:position]]
        if again:
            message = "Another line has this product."
            raise ValidationError({"lines": {position: {"productId": [message]} for position in again}})


class CreateOrder(PlainSchema, OneOrSeveral, _Terms, OrderLine):
    """The body of `POST /orders`."""

    plain = ("product_id", "quantity")
    of_lines = CreateOrderOfLines()


class HoldOrder(Schema):
    """The body of `POST /orders/{id}/hold`."""

    hold_seconds = WholeNumber(1, MAX_HOLD, required=True, data_key="holdSeconds", metadata=_HOLD)


class ChangeOrder(Schema):
    """The body of `PATCH /orders/{id}`."""

    metadata = Metadata(required=True, metadata=_PAIRS)


class NoQuery(Schema):
    """A route without query parameters."""


class PageQuery(Schema):
    """Selects a part of a list; `cursor` loads as the id that the page starts below."""

    limit = QueryInteger(1, MAX_PAGE, load_default=DEFAULT_PAGE, metadata=_LIMIT)
    cursor = Cursor(load_default=MAX_ID, metadata=_CURSOR)


class ProductsQuery(PageQuery):
    """The query of `GET /products`: a page, or the products with these ids."""

    ids = QueryIntegers(QueryInteger(1, MAX_ID), MAX_LINES, load_default=None, metadata=_IDS)

    @validates_schema(pass_original=True)
    def _is_one_of_both(self, content: dict[str, Any], given: dict[str, str], **_: Any) -> None:
        if content["ids"] is not None and len(given) > 1:
            raise ValidationError("Cannot be combined with limit or cursor.", "ids")


class OrderQuery(Schema):
    """The query of `GET /orders/{id}`."""

    wait = QueryInteger(0, MAX_WAIT, load_default=0, metadata=_WAIT)


class OrdersQuery(PageQuery):
    """The query of `GET /orders`."""

    status = fields.String(load_default=None, validate=validate.OneOf(list(OrderStatus)), metadata=_STATUS)
    product_id = QueryInteger(1, MAX_ID, load_default=None, data_key="productId", metadata=_PRODUCT)
    customer_id = short_text(load_default=None, data_key="customerId", metadata=_CUSTOMER)
    reference = short_text(load_default=None, metadata=_REFERENCE)

    @validates_schema(pass_original=True)
    def _walks_an_index(self, _content: dict[str, Any], given: dict[str, str], **_: Any) -> None:
        for name in ("customerId", "reference"):
            if name in given and given.keys() - {name, "limit", "cursor"}:
                message = "Can be combined with limit and cursor alone; only status and productId go together."
                raise ValidationError(message, name)


class ResourcePath(Schema):
    """The parameters of all paths; each is an id."""

    id = QueryInteger(1, MAX_ID)
    product_id = QueryInteger(1, MAX_ID, data_key="productId")
