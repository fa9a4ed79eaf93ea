"""Orders as the API shows them. orjson writes their times as RFC 3339 UTC."""

from typing import Any

from orders.domain import HistoryEntry, Order


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


def entry_view(entry: HistoryEntry) -> dict[str, Any]:
    return {
        "status": entry.status,
        "reason": entry.reason,
        "traceId": entry.trace_id,
        "createdAt": entry.created_at,
    }
