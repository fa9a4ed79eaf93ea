"""Exchange, queues and bindings, as data; every process declares all of it, so no event is ever unroutable."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiormq
import structlog
from aiormq.abc import AbstractConnection

from shared.contracts.events import EventType

log = structlog.get_logger()

EXCHANGE = "shop.events"

# A delivery that a crash gives back counts. The limit (20 by default since RabbitMQ 4.0) is far above what restarts
# of a healthy consumer add up to, so only an event that kills its consumer over and over ends as a dead letter.
_DELIVERY_LIMIT = 1_000

# A dead letter that is looked at and given back has been delivered once more, and one past the limit is deleted. The
# broker knows "no limit" since 4.0 only, and would refuse it before.
_DEAD_DELIVERY_LIMIT = 1_000_000


@dataclass(frozen=True, slots=True)
class Queue:
    """A quorum queue of one consuming service and purpose, and its dead-letter queue."""

    name: str
    types: tuple[EventType, ...]

    @property
    def dead(self) -> str:
        return f"{self.name}.dead"

    @property
    def dead_arguments(self) -> dict[str, Any]:
        return {"x-queue-type": "quorum", "x-delivery-limit": _DEAD_DELIVERY_LIMIT}

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
    """On channels of its own, since a refused declaration closes its channel. Raises aiormq's AMQPError."""
    channel = await connection.channel(publisher_confirms=False)
    await channel.exchange_declare(EXCHANGE, exchange_type="topic", durable=True)
    await channel.close()
    for queue in QUEUES:
        await _declare(connection, queue.dead, queue.dead_arguments)
        await _declare(connection, queue.name, queue.arguments, queue.types)


async def _declare(
    connection: AbstractConnection, name: str, arguments: dict[str, Any], types: Sequence[EventType] = ()
) -> None:
    channel = await connection.channel(publisher_confirms=False)
    try:
        await channel.queue_declare(name, durable=True, arguments=arguments)
    except aiormq.exceptions.ChannelPreconditionFailed as error:
        # It is there since an older version: it does its work, and only an operator may delete it.
        log.warning("queue has other arguments", queue=name, error=str(error))
        channel = await connection.channel(publisher_confirms=False)
    for event_type in types:
        await channel.queue_bind(name, EXCHANGE, event_type)
    await channel.close()
