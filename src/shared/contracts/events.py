"""Types and data of the events; fields that a reader does not know are for newer readers and are passed over."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from marshmallow import EXCLUDE, Schema, fields, validate

from shared.contracts.fields import MAX_QUANTITY, Price, WholeNumber, short_text
from shared.pagination import MAX_ID


class EventType(StrEnum):
    """CloudEvents type and routing key at once."""

    PRODUCT_CREATED = "product.created"
    PRODUCT_UPDATED = "product.updated"
    ORDER_CREATED = "order.created"
    ORDER_UPDATED = "order.updated"
    ORDER_CANCELLED = "order.cancelled"


class Reason(StrEnum):
    """Why an order was rejected."""

    INSUFFICIENT_STOCK = "insufficient_stock"
    PRODUCT_NOT_FOUND = "product_not_found"


class _EventData(Schema):
    class Meta:
        unknown = EXCLUDE


class ProductData(_EventData):
    """`product.created` and `product.updated`: the product as it now is."""

    product_id = WholeNumber(1, MAX_ID, required=True, data_key="productId")
    name = short_text(required=True)
    price = Price(required=True)


class OrderData(_EventData):
    """`order.created` and `order.cancelled`: the stock that an order asks for, or no longer needs."""

    order_id = WholeNumber(1, MAX_ID, required=True, data_key="orderId")
    product_id = WholeNumber(1, MAX_ID, required=True, data_key="productId")
    quantity = WholeNumber(1, MAX_QUANTITY, required=True)


class OrderUpdatedData(_EventData):
    """`order.updated`: what became of the order's claim on the stock."""

    order_id = WholeNumber(1, MAX_ID, required=True, data_key="orderId")
    product_id = WholeNumber(1, MAX_ID, required=True, data_key="productId")
    status = fields.String(required=True, validate=validate.OneOf(["done", "rejected"]))
    reason = fields.String(load_default=None, allow_none=True, validate=validate.OneOf(list(Reason)))


DATA: Mapping[str, Schema] = MappingProxyType(
    {
        EventType.PRODUCT_CREATED: ProductData(),
        EventType.PRODUCT_UPDATED: ProductData(),
        EventType.ORDER_CREATED: OrderData(),
        EventType.ORDER_UPDATED: OrderUpdatedData(),
        EventType.ORDER_CANCELLED: OrderData(),
    }
)
