"""Bodies and queries of the HTTP API; the gateway and the services check the same schemas."""

from enum import StrEnum
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from shared.contracts.fields import (
    DEFAULT_PAGE,
    MAX_LINES,
    MAX_PAGE,
    MAX_QUANTITY,
    MAX_STOCK,
    MAX_WAIT,
    Cursor,
    Price,
    QueryInteger,
    QueryIntegers,
    WholeNumber,
    short_text,
)
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
_LIMIT = {"description": "The largest number of items on the page."}
_CURSOR = {"description": "Where the page begins: the `page.next` of the page before it."}
_WAIT = {"description": f"The seconds to wait for an order that is still pending, at most {MAX_WAIT}."}
_STATUS = {"description": "Selects the orders with this status."}
_PRODUCT = {"description": "Selects the orders of this product."}


class OrderStatus(StrEnum):
    """`pending → done | rejected`; `pending | done → cancelled`."""

    PENDING = "pending"
    DONE = "done"
    REJECTED = "rejected"
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


class CreateOrder(Schema):
    """The body of `POST /orders`."""

    product_id = WholeNumber(1, MAX_ID, required=True, data_key="productId", metadata=_ID)
    quantity = WholeNumber(1, MAX_QUANTITY, required=True, metadata={"examples": [2]})


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


class ResourcePath(Schema):
    """The parameters of all paths; each is an id."""

    id = QueryInteger(1, MAX_ID)
    product_id = QueryInteger(1, MAX_ID, data_key="productId")
