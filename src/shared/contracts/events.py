"""The types of the events and their data. A reader ignores fields that it does not know: they are for newer ones."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from marshmallow import EXCLUDE, Schema, fields, validate

from shared.contracts.fields import MAX_QUANTITY, Identity, Price, WholeNumber, short_text
from shared.contracts.plain import PlainSchema
from shared.pagination import MAX_ID


class EventType(StrEnum):
    """The CloudEvents type of an event, and its routing key."""

    PRODUCT_CREATED = "product.created"
    PRODUCT_UPDATED = "product.updated"
    ORDER_CREATED = "order.created"
    ORDER_UPDATED = "order.updated"
    ORDER_CANCELLED = "order.cancelled"


class Reason(StrEnum):
    """Why an order was rejected."""

    INSUFFICIENT_STOCK = "insufficient_stock"
    PRODUCT_NOT_FOUND = "product_not_found"


def _uid(data_key: str) -> Identity:
    """The identity behind a number, which a restored database cannot give out again; older releases have none."""
    return Identity(load_default=None, allow_none=True, data_key=data_key)


class _EventData(PlainSchema):
    class Meta:
        unknown = EXCLUDE

    product_id = WholeNumber(1, MAX_ID, required=True, data_key="productId", metadata={"examples": [42]})


class ProductData(_EventData):
    """`product.created` and `product.updated`: the product as it now is."""

    name = short_text(required=True, metadata={"examples": ["Desk lamp"]})
    price = Price(required=True)


class _OrderEventData(_EventData):
    order_id = WholeNumber(1, MAX_ID, required=True, data_key="orderId", metadata={"examples": [7]})
    order_uid = _uid("orderUid")


class OrderData(_OrderEventData):
    """`order.created` and `order.cancelled`: the stock that an order asks for, or no longer needs."""

    plain = ("order_id", "order_uid", "product_id", "product_uid", "quantity")

    product_uid = _uid("productUid")
    quantity = WholeNumber(1, MAX_QUANTITY, required=True, metadata={"examples": [2]})


class OrderUpdatedData(_OrderEventData):
    """`order.updated`: whether the order got its stock."""

    plain = ("order_id", "order_uid", "product_id", "status", "reason")

    status = fields.String(required=True, validate=validate.OneOf(["done", "rejected"]))
    reason = fields.String(
        load_default=None, allow_none=True, validate=validate.OneOf(list(Reason)), metadata={"examples": [None]}
    )


DATA: Mapping[str, Schema] = MappingProxyType(
    {
        EventType.PRODUCT_CREATED: ProductData(),
        EventType.PRODUCT_UPDATED: ProductData(),
        EventType.ORDER_CREATED: OrderData(),
        EventType.ORDER_UPDATED: OrderUpdatedData(),
        EventType.ORDER_CANCELLED: OrderData(),
    }
)
