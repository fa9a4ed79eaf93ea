"""The events between the two services, held back as they are written and delivered as a test likes."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from aiormq.abc import AbstractChannel

from shared.db import Database
from shared.messaging import topology
from tests.broker import event
from tests.waiting import eventually

_LIMIT = 10.0
# No order and no product of a test has such an id.
_BEYOND = 10**12

_HOLD = """
CREATE TABLE held (id bigint PRIMARY KEY, type text, payload json, traceparent text);
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO held VALUES (NEW.id, NEW.type, NEW.payload, NEW.traceparent);
    RETURN NULL;
END
$$;
CREATE TRIGGER hold BEFORE INSERT ON outbox FOR EACH ROW WHEN (NEW.type LIKE 'order.%') EXECUTE FUNCTION hold();
"""
_TAKE = """
SELECT id, type, payload, traceparent
FROM held
WHERE id > $1 AND (payload->>'orderId')::bigint < $2
ORDER BY id
"""
_IS_CLAIMED = "SELECT count(*) FROM reservations WHERE order_id = $1"
_PENDING = """
INSERT INTO orders (product_id, quantity, unit_price, total_price, trace_id) VALUES ($1, 1, 0, 0, '') RETURNING id
"""
_IS_FINAL = "SELECT count(*) FROM orders WHERE id = $1 AND status <> 'pending'"


@dataclass(frozen=True, slots=True, eq=False)
class Letter:
    """An event that a service has written and that was held back."""

    id: int
    type: str
    data: dict[str, Any]
    traceparent: str | None

    def as_event(self) -> dict[str, Any]:
        return event(self.type, self.data, id=str(self.id), traceparent=self.traceparent)


class Outbox:
    """The letters of one service."""

    def __init__(self, database: Database) -> None:
        """`database` is opened by the owner of the schema."""
        self.database = database
        self._last_id = 0

    async def hold(self) -> None:
        """Holds back every event of an order from now on."""
        async with self.database.connection() as connection:
            await connection.execute(_HOLD)

    async def take(self) -> list[Letter]:
        """Returns the letters that were written since the last call."""
        async with self.database.connection() as connection:
            rows = await connection.fetch(_TAKE, self._last_id, _BEYOND)
        letters = [Letter(row["id"], row["type"], orjson.loads(row["payload"]), row["traceparent"]) for row in rows]
        self._last_id = max((letter.id for letter in letters), default=self._last_id)
        return letters


class Mail:
    """Delivers letters in any order and number; a call returns once the receiver has handled all of them.

    One more event, of an order that no client placed, shows when: a queue keeps its order.
    """

    def __init__(self, channel: AbstractChannel, products: Database, orders: Database) -> None:
        self._channel = channel
        self._products = products
        self._orders = orders
        self._markers = itertools.count(_BEYOND)

    async def to_products(self, letters: Sequence[Letter]) -> None:
        marker = next(self._markers)
        claim = event("order.created", {"orderId": marker, "productId": _BEYOND, "quantity": 1})
        await self._publish([*(letter.as_event() for letter in letters), claim])
        await _shows(self._products, _IS_CLAIMED, marker)

    async def to_orders(self, letters: Sequence[Letter]) -> None:
        async with self._orders.connection() as connection:
            marker = await connection.fetchval(_PENDING, _BEYOND)
        verdict = event("order.updated", {"orderId": marker, "productId": _BEYOND, "status": "done"})
        await self._publish([*(letter.as_event() for letter in letters), verdict])
        await _shows(self._orders, _IS_FINAL, marker)

    async def _publish(self, events: Sequence[dict[str, Any]]) -> None:
        """Publishes each event as a message of its own."""
        for each in events:
            body = orjson.dumps([each])
            await self._channel.basic_publish(body, exchange=topology.EXCHANGE, routing_key=each["type"])


async def _shows(database: Database, statement: str, marker: int) -> None:
    async def shows() -> bool:
        async with database.connection() as connection:
            return bool(await connection.fetchval(statement, marker))

    await eventually(shows, within=_LIMIT)
