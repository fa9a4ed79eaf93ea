"""Products and the movements of their stock."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Product:
    """`version` counts changes of name and price, which two clients could overwrite for each other; not of stock.

    `uid` tells it from another product that gets the same id from a restored database. `qty` is free to sell; `held`
    is what orders have taken that are not confirmed yet.
    """

    id: int
    uid: UUID
    name: str
    price: Decimal
    qty: int
    held: int
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Movement:
    """A change of a product's stock. It has an `order_id` if an order made it, a `reason` if a client made it."""

    id: int
    kind: str
    delta: int
    order_id: int | None
    reason: str | None
    created_at: datetime
