"""Products and the movements of their stock, as the API shows them."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class Product:
    """`version` counts the changes of name and price, which is what two people can overwrite for each other."""

    id: int
    name: str
    price: Decimal
    qty: int
    version: int
    created_at: datetime
    updated_at: datetime

    def as_json(self) -> dict[str, Any]:
        """What the API shows."""
        return {
            "id": self.id,
            "name": self.name,
            "price": f"{self.price:.2f}",
            "qty": self.qty,
            "version": self.version,
            "createdAt": self.created_at,
            "updatedAt": self.updated_at,
        }


@dataclass(frozen=True, slots=True)
class Movement:
    """A change of a product's stock; `order_id` of one that an order made, `reason` of one that somebody made."""

    id: int
    kind: str
    delta: int
    order_id: int | None
    reason: str | None
    created_at: datetime

    def as_json(self) -> dict[str, Any]:
        """What the API shows."""
        return {
            "id": self.id,
            "kind": self.kind,
            "delta": self.delta,
            "orderId": self.order_id,
            "reason": self.reason,
            "createdAt": self.created_at,
        }
