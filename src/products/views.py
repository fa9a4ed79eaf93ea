"""Products as the API shows them. orjson writes their times as RFC 3339 UTC."""

from types import EllipsisType
from typing import Any

import orjson

from products.domain import Movement, Product
from shared.contracts.fields import has_shape

_PRODUCT_TYPES = {
    "id": (int,),
    "uid": (str, EllipsisType),  # an older release writes none
    "name": (str,),
    "price": (str,),
    "qty": (int,),
    "version": (int,),
    "createdAt": (str,),
    "updatedAt": (str,),
}


def parse_product_view(product_id: int, content: bytes) -> dict[str, Any]:
    """Raises ValueError for JSON that is not a view of this product."""
    view = orjson.loads(content)
    if not has_shape(view, _PRODUCT_TYPES) or view["id"] != product_id:
        raise ValueError("not a view of the product")
    return dict(view)


def product_view(product: Product) -> dict[str, Any]:
    return {
        "id": product.id,
        "uid": str(product.uid),
        "name": product.name,
        "price": f"{product.price:.2f}",
        "qty": product.qty,
        "version": product.version,
        "createdAt": product.created_at,
        "updatedAt": product.updated_at,
    }


def movement_view(movement: Movement) -> dict[str, Any]:
    return {
        "id": movement.id,
        "kind": movement.kind,
        "delta": movement.delta,
        "orderId": movement.order_id,
        "reason": movement.reason,
        "createdAt": movement.created_at,
    }
