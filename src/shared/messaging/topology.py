"""Exchanges, queues and bindings, as data; every process declares all of them, so no event is ever unroutable.

What its user may not declare `ops broker` has; a consumer may declare and bind the queues of its service.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from aiormq.abc import AbstractConnection
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity, ChannelPreconditionFailed
from pamqp.commands import Queue as QueueCommands

from shared.contracts.events import EventType

log = structlog.get_logger()

EXCHANGE = "shop.events"
# Routes by queue name, as the default exchange does (AMQP 0-9-1 §3.1.3.1), and to these queues alone. Of the type
# topic, so that permissions can name the queues.
QUEUE_EXCHANGE = "shop.queues"

# A delivery that returns to the queue because its consumer died counts. The limit (20 by default since RabbitMQ 4.0)
# is far above the restarts of a healthy consumer, so only an event that always kills its consumer is buried.
_DELIVERY_LIMIT = 1_000

# Each look at a dead letter is a delivery, and the broker deletes a letter past the limit. RabbitMQ accepts "no limit"
# only since 4.0.
BESIDE_ARGUMENTS = {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000}


@dataclass(frozen=True, slots=True)
class Queue:
    """A quorum queue for one consuming service and purpose, and two beside it; `sender` is a service too."""

    name: str
    sender: str
    types: tuple[EventType, ...]

    @property
    def consumer(self) -> str:
        return self.name.partition(".")[0]

    @property
    def dead(self) -> str:
        return f"{self.name}.dead"

    @property
    def parked(self) -> str:
        return f"{self.name}.parked"

    @property
    def beside(self) -> tuple[str, str]:
        """Where the consumer puts what it cannot apply, and what a newer release can."""
        return self.dead, self.parked

    @property
    def arguments(self) -> dict[str, Any]:
        return {
            "x-queue-type": "quorum",
            "x-delivery-limit": _DELIVERY_LIMIT,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": self.dead,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",  # required by at-least-once
        }

    @property
    def policy(self) -> dict[str, str]:
        """What may take the place of the arguments of these names: it can be changed, and asks for no permissions."""
        return {"dead-letter-exchange": QUEUE_EXCHANGE, "dead-letter-routing-key": self.dead}


PRODUCTS_ORDERS = Queue(
    "products.orders",
    "orders",
    (EventType.ORDER_CREATED, EventType.ORDER_CANCELLED, EventType.ORDER_CONFIRMED, EventType.ORDER_EXPIRED),
)
ORDERS_STOCK = Queue("orders.stock", "products", (EventType.ORDER_UPDATED,))
ORDERS_PRODUCTS = Queue("orders.products", "products", (EventType.PRODUCT_CREATED, EventType.PRODUCT_UPDATED))
QUEUES = (PRODUCTS_ORDERS, ORDERS_STOCK, ORDERS_PRODUCTS)


async def declare(connection: AbstractConnection, *, by_policy: bool = False) -> None:
    """Uses channels of its own, because a refused declaration closes its channel. Raises aiormq's AMQPError.

    `by_policy` leaves new queues without the arguments that their policies stand for.
    """
    try:
        channel = await connection.channel(publisher_confirms=False)
        for exchange in (EXCHANGE, QUEUE_EXCHANGE):
            await channel.exchange_declare(exchange, exchange_type="topic", durable=True)
        await channel.close()
    except ChannelAccessRefused:
        by_policy = True  # a user whom `ops broker` has made, like the exchanges and the policies
    for queue in QUEUES:
        set_by_policy = {f"x-{name}" for name in queue.policy} if by_policy else set()
        arguments = {name: value for name, value in queue.arguments.items() if name not in set_by_policy}
        with suppress(ChannelAccessRefused):  # the queue of another service
            for name in queue.beside:
                await _declare(connection, name, BESIDE_ARGUMENTS)
            await _declare(connection, queue.name, arguments)
            await look_after(connection, queue)


async def look_after(connection: AbstractConnection, queue: Queue) -> dict[str, QueueCommands.DeclareOk]:
    """Declares the queues beside it again, and binds all; returns what the broker says of those that were there."""
    channel = await connection.channel(publisher_confirms=False)
    found = {queue.name: await channel.queue_declare(queue.name, passive=True)}
    for name in queue.beside:
        try:
            found[name] = await channel.queue_declare(name, passive=True)
        except ChannelNotFoundEntity:
            await _declare(connection, name, BESIDE_ARGUMENTS)
            channel = await connection.channel(publisher_confirms=False)
    with suppress(ChannelNotFoundEntity):  # an exchange, which `ops broker` declares: publishers say so
        for name in (*queue.beside, queue.name):
            await channel.queue_bind(name, QUEUE_EXCHANGE, name)
        for event_type in queue.types:
            await channel.queue_bind(queue.name, EXCHANGE, event_type)
        await channel.close()
    return found


async def _declare(connection: AbstractConnection, name: str, arguments: dict[str, Any]) -> None:
    channel = await connection.channel(publisher_confirms=False)
    try:
        await channel.queue_declare(name, durable=True, arguments=arguments)
        await channel.close()
    except ChannelPreconditionFailed as error:
        # An older version declared it. It still works, and only an operator may delete it.
        log.warning("queue has other arguments", queue=name, error=str(error))
