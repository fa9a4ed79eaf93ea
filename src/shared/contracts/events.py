"""The types of the events and their data. A reader ignores fields that it does not know: they are for newer ones."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate

from shared.contracts.fields import MAX_LINES, MAX_QUANTITY, Identity, OneOrSeveral, Price, WholeNumber, stored_text
from shared.contracts.plain import PlainSchema
from shared.pagination import MAX_ID


class EventType(StrEnum):
    """The CloudEvents type of an event, and its routing key."""

    PRODUCT_CREATED = "product.created"
    PRODUCT_UPDATED = "product.updated"
    ORDER_CREATED = "order.created"
    ORDER_UPDATED = "order.updated"
    ORDER_CANCELLED = "order.cancelled"
    ORDER_CONFIRMED = "order.confirmed"
    ORDER_EXPIRED = "order.expired"


class Reason(StrEnum):
    """Why an order was rejected; that of a newer release is passed on as text."""

    INSUFFICIENT_STOCK = "insufficient_stock"
    PRODUCT_NOT_FOUND = "product_not_found"


def _uid(data_key: str) -> Identity:
    """The identity behind a number, which a restored database cannot give out again; older releases have none."""
    return Identity(load_default=None, allow_none=True, data_key=data_key)


class _EventData(PlainSchema):
    class Meta:
        unknown = EXCLUDE


class _Product(_EventData):
    product_id = WholeNumber(1, MAX_ID, required=True, data_key="productId", metadata={"examples": [42]})


class ProductData(_Product):
    """`product.created` and `product.updated`: the product as it now is."""

    name = stored_text(required=True, metadata={"examples": ["Desk lamp"]})
    price = Price(required=True)


class _Identity(_EventData):
    order_id = WholeNumber(1, MAX_ID, required=True, data_key="orderId", metadata={"examples": [7]})
    order_uid = _uid("orderUid")


class Quantity(_Product):
    """A line of an order in `order.updated`."""

    quantity = WholeNumber(1, MAX_QUANTITY, required=True, metadata={"examples": [2]})


class Line(Quantity):
    """A line of an order."""

    product_uid = _uid("productUid")


class _Held(_Identity):
    held = fields.Boolean(
        load_default=False, metadata={"description": "The order is to be confirmed, or will expire."}
    )


def _lines(schema: type[Schema]) -> fields.List[Any]:
    return fields.List(fields.Nested(schema), required=True, validate=validate.Length(min=1, max=MAX_LINES))


class OrderOfLinesData(_Held):
    """An order of several products in `order.created`, `order.confirmed`, `order.cancelled` and `order.expired`."""

    lines = _lines(Line)


class OrderData(_Held, Line, OneOrSeveral):
    """The stock that an order asks for, keeps or no longer needs: `order.created` and those that may follow it."""

    plain = ("order_id", "order_uid", "product_id", "product_uid", "quantity")
    of_lines = OrderOfLinesData()


class Shortage(_Product):
    """A line of a rejected order that could not be served."""

    requested = WholeNumber(1, MAX_QUANTITY, required=True, metadata={"examples": [2]})
    available = WholeNumber(0, MAX_ID, required=True, metadata={"examples": [1]})


_REASON = {"description": f"{', '.join(Reason)}, or a later one.", "examples": [None]}


class _Verdict(_Identity):
    status = fields.String(required=True, validate=validate.OneOf(["done", "held", "rejected"]))
    reason = stored_text(load_default=None, allow_none=True, metadata=_REASON)
    shortages = fields.List(fields.Nested(Shortage))


class OrderOfLinesUpdatedData(_Verdict):
    """`order.updated` of an order of several products."""

    lines = _lines(Quantity)


class OrderUpdatedData(_Verdict, _Product, OneOrSeveral):
    """`order.updated`: whether the order got its stock."""

    plain = ("order_id", "order_uid", "product_id", "status", "reason")
    of_lines = OrderOfLinesUpdatedData()


DATA: Mapping[str, Schema] = {
    EventType.PRODUCT_CREATED: ProductData(),
    EventType.PRODUCT_UPDATED: ProductData(),
    EventType.ORDER_CREATED: OrderData(),
    EventType.ORDER_UPDATED: OrderUpdatedData(),
    EventType.ORDER_CANCELLED: OrderData(),
    EventType.ORDER_CONFIRMED: OrderData(),
    EventType.ORDER_EXPIRED: OrderData(),
}
