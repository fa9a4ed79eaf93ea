"""Products as the API shows them. orjson writes their times as RFC 3339 UTC."""

from typing import Any

from products.domain import Movement, Product


def product_view(product: Product) -> dict[str, Any]:
    return {
        "id": product.id,
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
