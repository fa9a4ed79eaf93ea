"""Products as the API shows them. orjson writes their times as RFC 3339 UTC."""

from typing import Any

import orjson

from products.domain import Movement, Product
from products.settlement import Reservation
from shared.contracts.fields import has_shape

_PRODUCT_TYPES = {
    "id": (int,),
    "uid": (str,),
    "name": (str,),
    "price": (str,),
    "qty": (int,),
    "held": (int,),
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
        "held": product.held,
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


def answer_data(reservation: Reservation) -> dict[str, Any]:
    """The data of the event `order.updated`; an order of one product names it as it always did."""
    first = reservation.lines[0]
    taken = "held" if reservation.held else "done"
    data: dict[str, Any] = {
        "orderId": reservation.order_id,
        "orderUid": reservation.order_uid,
        "productId": first.product_id,
        "status": taken if reservation.outcome == "reserved" else "rejected",
        "reason": reservation.reason,
    }
    if len(reservation.lines) > 1:
        del data["productId"]
        data["lines"] = [{"productId": line.product_id, "quantity": line.quantity} for line in reservation.lines]
    if reservation.shortages:
        data["shortages"] = [
            {"productId": short.product_id, "requested": short.requested, "available": short.available}
            for short in reservation.shortages
        ]
    return data
