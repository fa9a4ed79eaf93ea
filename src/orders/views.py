"""Orders as the API shows them. orjson writes their times as RFC 3339 UTC."""

from collections.abc import Mapping
from types import EllipsisType, NoneType
from typing import Any

import orjson

from orders.domain import HistoryEntry, Order
from shared.contracts.fields import has_shape

_ORDER_TYPES = {
    "id": (int,),
    "productId": (int,),
    "quantity": (int,),
    "unitPrice": (str,),
    "totalPrice": (str,),
    "status": (str,),
    "reason": (str, NoneType),
    "traceId": (str,),
    "createdAt": (str,),
    "updatedAt": (str,),
    # An older release writes none of these.
    "customerId": (str, NoneType, EllipsisType),
    "reference": (str, NoneType, EllipsisType),
    "metadata": (dict, EllipsisType),
}


def order_view(order: Order) -> dict[str, Any]:
    return {
        "id": order.id,
        "productId": order.product_id,
        "quantity": order.quantity,
        "unitPrice": f"{order.unit_price:.2f}",
        "totalPrice": f"{order.total_price:.2f}",
        "status": order.status,
        "reason": order.reason,
        "traceId": order.trace_id,
        "createdAt": order.created_at,
        "updatedAt": order.updated_at,
        "customerId": order.customer_id,
        "reference": order.reference,
        "metadata": orjson.Fragment(order.metadata) if order.metadata else {},
    }


def json_of(metadata: Mapping[str, str] | None) -> str | None:
    """None for no pairs, as orders without any are stored."""
    return orjson.dumps(metadata).decode() if metadata else None


def is_order_view(product_id: int, view: Any) -> bool:
    """Whether parsed JSON is what `order_view` made of an order of this product."""
    return has_shape(view, _ORDER_TYPES) and bool(view["productId"] == product_id)


def entry_view(entry: HistoryEntry) -> dict[str, Any]:
    return {
        "status": entry.status,
        "reason": entry.reason,
        "traceId": entry.trace_id,
        "createdAt": entry.created_at,
    }
