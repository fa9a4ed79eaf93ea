"""Orders as the API shows them. orjson writes their times as RFC 3339 UTC."""

from types import NoneType
from typing import Any

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
    }


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
