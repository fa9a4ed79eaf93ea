"""What a round left in the databases, queues and caches, read past everything that was broken on the way."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from ops.databases import Snapshot, snapshot
from ops.letters import DeadLetter
from shared.messaging.topology import QUEUES
from tools.faults import backlog, views
from tools.faults.views import Answer, Cached
from tools.stack import logs

_PRODUCTS = "SELECT id, name, price, qty, version FROM products ORDER BY id"
_MOVEMENTS = "SELECT id, product_id, kind, delta, order_id, reason FROM stock_movements ORDER BY id"
_RESERVATIONS = "SELECT order_id, product_id, quantity, outcome, reason FROM reservations ORDER BY order_id"
_ORDERS = """
SELECT id, product_id, quantity, unit_price, total_price, status, reason, trace_id, idempotency_key
FROM orders
ORDER BY id
"""
# In the order in which an order can have them: a clock may have jumped.
_HISTORY = """
SELECT order_id, status, reason, trace_id
FROM order_history
ORDER BY order_id, array_position(ARRAY['pending', 'done', 'rejected', 'cancelled'], status)
"""
_OUTBOX = "SELECT count(*) FROM outbox"
_PENDING = "SELECT count(*) FROM orders WHERE status = 'pending'"

_LATE_DROP = "cache bypassed"
# Of the orders, each replica of their service is asked for so many.
_SAMPLE = 20


@dataclass(frozen=True, slots=True)
class Places:
    """Where to read: URLs by the name of the database, Redis or replica (of products and orders); every log."""

    databases: Mapping[str, str] = field(repr=False)
    redises: Mapping[str, str]
    replicas: Mapping[str, str]
    amqp_url: str = field(repr=False)
    broker_ui_url: str
    logs: Sequence[Path] = ()


@dataclass(frozen=True, slots=True)
class Product:
    id: int
    name: str
    price: Decimal
    qty: int
    version: int

    def as_json(self) -> dict[str, Any]:
        """As the API shows it, but for the times."""
        return {
            "id": self.id,
            "name": self.name,
            "price": f"{self.price:.2f}",
            "qty": self.qty,
            "version": self.version,
        }


@dataclass(frozen=True, slots=True)
class Movement:
    id: int
    product_id: int
    kind: str
    delta: int
    order_id: int | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Reservation:
    order_id: int
    product_id: int
    quantity: int
    outcome: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Order:
    """`key` is the idempotency key."""

    id: int
    product_id: int
    quantity: int
    unit_price: Decimal
    total_price: Decimal
    status: str
    reason: str | None
    trace_id: str
    key: str | None

    def as_json(self) -> dict[str, Any]:
        """As the API shows it, but for the times."""
        return {
            "id": self.id,
            "productId": self.product_id,
            "quantity": self.quantity,
            "unitPrice": f"{self.unit_price:.2f}",
            "totalPrice": f"{self.total_price:.2f}",
            "status": self.status,
            "reason": self.reason,
            "traceId": self.trace_id,
        }


@dataclass(frozen=True, slots=True)
class Entry:
    """Of an order's history."""

    status: str
    reason: str | None
    trace_id: str | None


@dataclass(frozen=True, slots=True)
class State:
    """Of everything: the databases are empty when a round begins.

    `history` is by order id. `late_drops` tells whether a service logged that Redis did not take a drop in time.
    """

    products: Sequence[Product]
    movements: Sequence[Movement]
    reservations: Sequence[Reservation]
    orders: Sequence[Order]
    history: Mapping[int, Sequence[Entry]]
    outboxes: Mapping[str, int]
    queues: Mapping[str, int]
    dead_letters: Sequence[DeadLetter]
    cached: Sequence[Cached]
    answers: Sequence[Answer]
    late_drops: bool = False


async def read(places: Places) -> State:
    """Of a system that has settled. Raises OpsError, OSError, TimeoutError, RedisError."""
    async with snapshot(places.databases["products-db"], "products-db") as database:
        products = [Product(*row) for row in await database.fetch(_PRODUCTS)]
        movements = [Movement(*row) for row in await database.fetch(_MOVEMENTS)]
        reservations = [Reservation(*row) for row in await database.fetch(_RESERVATIONS)]
        outboxes = {"products-db": await _count(database, _OUTBOX)}
    async with snapshot(places.databases["orders-db"], "orders-db") as database:
        orders = [Order(*row) for row in await database.fetch(_ORDERS)]
        history: dict[int, list[Entry]] = defaultdict(list)
        for order_id, *entry in await database.fetch(_HISTORY):
            history[order_id].append(Entry(*entry))
        outboxes["orders-db"] = await _count(database, _OUTBOX)
    # The caches come before the answers, which fill them.
    cached = [entry for name, url in places.redises.items() for entry in await views.cached(name, url)]
    return State(
        products=products,
        movements=movements,
        reservations=reservations,
        orders=orders,
        history=history,
        outboxes=outboxes,
        queues=await backlog.depths(places.amqp_url, places.broker_ui_url),
        dead_letters=await backlog.dead_letters(places.amqp_url),
        cached=cached,
        answers=await views.answers(_questions(places.replicas, products, orders)),
        late_drops=logs.has_event(places.logs, _LATE_DROP),
    )


async def settled(places: Places) -> bool:
    """Whether nothing is under way any more; the broker counts unacknowledged messages every few seconds only."""
    async with snapshot(places.databases["orders-db"], "orders-db") as database:
        if await _count(database, _PENDING) or await _count(database, _OUTBOX):
            return False
    async with snapshot(places.databases["products-db"], "products-db") as database:
        if await _count(database, _OUTBOX):
            return False
    return await backlog.depths(places.amqp_url, places.broker_ui_url) == {queue.name: 0 for queue in QUEUES}


async def _count(database: Snapshot, statement: str) -> int:
    [row] = await database.fetch(statement)
    return int(row[0])


def _questions(
    replicas: Mapping[str, str], products: Sequence[Product], orders: Sequence[Order]
) -> Iterator[tuple[str, str, str]]:
    """What to ask which replica for: name, URL, path."""
    sample = orders[:: -(-len(orders) // _SAMPLE) or 1]
    paths = {
        "products": [f"/products/{product.id}" for product in products],
        "orders": [
            *(f"/orders/product/{product.id}" for product in products),
            *(f"/orders/{order.id}" for order in sample),
        ],
    }
    for name, url in replicas.items():
        for path in paths[name.partition("-")[0]]:
            yield name, url, path
