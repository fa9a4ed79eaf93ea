"""Orders as the API shows them. orjson writes their times as RFC 3339 UTC."""

from collections.abc import Mapping
from decimal import Decimal
from types import NoneType
from typing import Any

import orjson

from orders.domain import HistoryEntry, Order
from shared.contracts.fields import has_shape

_ORDER_TYPES = {
    "id": (int,),
    "lines": (list,),
    "productId": (int, NoneType),
    "quantity": (int, NoneType),
    "unitPrice": (str, NoneType),
    "totalPrice": (str,),
    "status": (str,),
    "reason": (str, NoneType),
    "shortages": (list,),
    "expiresAt": (str, NoneType),
    "traceId": (str,),
    "createdAt": (str,),
    "updatedAt": (str,),
    "customerId": (str, NoneType),
    "reference": (str, NoneType),
    "metadata": (dict,),
}
_LINE_TYPES = {"productId": (int,), "quantity": (int,), "unitPrice": (str,), "totalPrice": (str,)}


def order_view(order: Order) -> dict[str, Any]:
    """An order of one product shows it also at its top, as clients know it."""
    lines = _lines(order)
    top = lines[0] if len(lines) == 1 else {}
    return {
        "id": order.id,
        "lines": lines,
        "productId": top.get("productId"),
        "quantity": top.get("quantity"),
        "unitPrice": top.get("unitPrice"),
        "totalPrice": f"{order.total_price:.2f}",
        "status": order.status,
        "reason": order.reason,
        "shortages": _fragment(order.shortages),
        "expiresAt": order.expires_at,
        "traceId": order.trace_id,
        "createdAt": order.created_at,
        "updatedAt": order.updated_at,
        "customerId": order.customer_id,
        "reference": order.reference,
        "metadata": orjson.Fragment(order.metadata) if order.metadata else {},
    }


def _lines(order: Order) -> list[dict[str, Any]]:
    if order.lines is None and order.unit_price is not None:
        price, total = f"{order.unit_price:.2f}", f"{order.total_price:.2f}"
        return [{"productId": order.product_id, "quantity": order.quantity, "unitPrice": price, "totalPrice": total}]
    return [
        {
            "productId": line["productId"],
            "quantity": line["quantity"],
            "unitPrice": line["unitPrice"],
            "totalPrice": f"{line['quantity'] * Decimal(line['unitPrice']):.2f}",
        }
        for line in orjson.loads(order.lines or "[]")
    ]


def _fragment(shortages: str | None) -> orjson.Fragment | list[Any]:
    return orjson.Fragment(shortages) if shortages else []


def json_of(metadata: Mapping[str, str] | None) -> str | None:
    """None for no pairs, as orders without any are stored."""
    return orjson.dumps(metadata).decode() if metadata else None


def is_order_view(product_id: int, view: Any) -> bool:
    """Whether parsed JSON is what `order_view` made of an order of this product, in this release."""
    return (
        has_shape(view, _ORDER_TYPES)
        and all(has_shape(line, _LINE_TYPES) for line in view["lines"])
        and product_id in [line["productId"] for line in view["lines"]]
    )


def entry_view(entry: HistoryEntry) -> dict[str, Any]:
    return {
        "status": entry.status,
        "reason": entry.reason,
        "shortages": _fragment(entry.shortages),
        "traceId": entry.trace_id,
        "createdAt": entry.created_at,
    }
