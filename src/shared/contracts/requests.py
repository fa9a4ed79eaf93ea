"""Bodies and queries of the HTTP API; the gateway and the services check the same schemas."""

from enum import StrEnum
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from shared.contracts.fields import (
    DEFAULT_PAGE,
    MAX_PAGE,
    MAX_QUANTITY,
    MAX_STOCK,
    MAX_WAIT,
    Cursor,
    Price,
    QueryInteger,
    WholeNumber,
    short_text,
    stock_delta,
)
from shared.pagination import MAX_ID


class OrderStatus(StrEnum):
    """`pending → done | rejected`; `pending | done → cancelled`."""

    PENDING = "pending"
    DONE = "done"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


class CreateProduct(Schema):
    """Body of `POST /products`."""

    name = short_text(required=True)
    price = Price(required=True)
    qty = WholeNumber(0, MAX_STOCK, required=True)


class ChangeProduct(Schema):
    """Body of `PATCH /products/{id}`: what is not named stays as it is."""

    name = short_text()
    price = Price()

    @validates_schema
    def _changes_something(self, content: dict[str, Any], **_: Any) -> None:
        if not content:
            raise ValidationError("Must hold a name or a price.")


class AdjustStock(Schema):
    """Body of `POST /products/{id}/stock`."""

    delta = stock_delta(required=True)
    reason = short_text(required=True)


class CreateOrder(Schema):
    """Body of `POST /orders`."""

    product_id = WholeNumber(1, MAX_ID, required=True, data_key="productId")
    quantity = WholeNumber(1, MAX_QUANTITY, required=True)


class NoQuery(Schema):
    """A route without query parameters."""


class PageQuery(Schema):
    """Which part of a list; `cursor` loads as the id that the page starts below."""

    limit = QueryInteger(1, MAX_PAGE, load_default=DEFAULT_PAGE)
    cursor = Cursor(load_default=MAX_ID)


class OrderQuery(Schema):
    """Query of `GET /orders/{id}`: the seconds to wait for an order that is still pending."""

    wait = QueryInteger(0, MAX_WAIT, load_default=0)


class OrdersQuery(PageQuery):
    """Query of `GET /orders`."""

    status = fields.String(load_default=None, validate=validate.OneOf([status.value for status in OrderStatus]))
    product_id = QueryInteger(1, MAX_ID, load_default=None, data_key="productId")


class ResourcePath(Schema):
    """Every parameter of a path is an id."""

    id = QueryInteger(1, MAX_ID)
    product_id = QueryInteger(1, MAX_ID, data_key="productId")
