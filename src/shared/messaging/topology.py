"""Exchange, queues and bindings, as data; every process declares all of it, so no event is ever unroutable."""

from dataclasses import dataclass
from typing import Any

from aiormq.abc import AbstractConnection

from shared.contracts.events import EventType

EXCHANGE = "shop.events"

# A delivery that a crash gives back counts. The limit (20 by default since RabbitMQ 4.0) is far above what restarts
# of a healthy consumer add up to, so only an event that kills its consumer over and over ends as a dead letter.
_DELIVERY_LIMIT = 1_000


@dataclass(frozen=True, slots=True)
class Queue:
    """A quorum queue of one consuming service and purpose, and its dead-letter queue."""

    name: str
    types: tuple[EventType, ...]

    @property
    def dead(self) -> str:
        return f"{self.name}.dead"

    @property
    def arguments(self) -> dict[str, Any]:
        return {
            "x-queue-type": "quorum",
            "x-delivery-limit": _DELIVERY_LIMIT,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": self.dead,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",  # what at-least-once asks for
        }


PRODUCTS_ORDERS = Queue("products.orders", (EventType.ORDER_CREATED, EventType.ORDER_CANCELLED))
ORDERS_STOCK = Queue("orders.stock", (EventType.ORDER_UPDATED,))
ORDERS_PRODUCTS = Queue("orders.products", (EventType.PRODUCT_CREATED, EventType.PRODUCT_UPDATED))
QUEUES = (PRODUCTS_ORDERS, ORDERS_STOCK, ORDERS_PRODUCTS)


async def declare(connection: AbstractConnection) -> None:
    """On a channel of its own, since a refused declaration closes the channel. Raises aiormq's AMQPError."""
    channel = await connection.channel(publisher_confirms=False)
    await channel.exchange_declare(EXCHANGE, exchange_type="topic", durable=True)
    for queue in QUEUES:
        await channel.queue_declare(queue.dead, durable=True, arguments={"x-queue-type": "quorum"})
        await channel.queue_declare(queue.name, durable=True, arguments=queue.arguments)
        for event_type in queue.types:
            await channel.queue_bind(queue.name, EXCHANGE, event_type)
    await channel.close()
