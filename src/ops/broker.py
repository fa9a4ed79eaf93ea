"""Dead-letter queues, read over AMQP: what is not taken is given back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiormq
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage
from pamqp.commands import Basic
from yarl import URL

from ops.errors import OpsError, first_line
from shared.messaging import cloudevents
from shared.messaging.connection import close
from shared.messaging.topology import Queue

# RuntimeError: aiormq's word for a channel or connection that closed under a call.
FAILURES = (aiormq.AMQPError, OSError, TimeoutError, RuntimeError)
_CALL = 10.0
_HEARTBEAT = 10
_PERSISTENT = 2
_DEFAULT_EXCHANGE = ""  # routes by queue name, AMQP 0-9-1 §3.1.3.1


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[AbstractConnection]:
    """Raises OpsError for whatever the broker does or does not do, also in the context."""
    try:
        async with asyncio.timeout(_CALL):
            connection = await aiormq.connect(URL(url).update_query(name="ops", heartbeat=_HEARTBEAT))
    except FAILURES as error:
        raise OpsError(f"the broker cannot be reached: {first_line(error)}") from error
    try:
        yield connection
    except FAILURES as error:
        raise OpsError(f"the broker failed: {first_line(error)}") from error
    finally:
        await close(connection)


class Reading:
    """The letters that were in a queue when it was opened; they are this reader's until the context ends."""

    def __init__(self, channel: AbstractChannel, queue: Queue, ready: int) -> None:
        self.queue = queue
        self.ready = ready
        self._channel = channel
        self._held = 0

    async def letters(self, most: int) -> AsyncIterator[DeliveredMessage]:
        """At most `most`, and never one that came after the queue was opened."""
        for _ in range(min(most, self.ready)):
            async with asyncio.timeout(_CALL):
                message = await self._channel.basic_get(self.queue.dead)
            if message.delivery_tag is None:
                return  # somebody else reads too
            self._held += 1
            yield message

    async def take(self, message: DeliveredMessage) -> None:
        """The letter leaves the queue; certain once the context has ended."""
        async with asyncio.timeout(_CALL):
            await self._channel.basic_ack(message.delivery_tag or 0)
        self._held -= 1

    async def give_back(self) -> None:
        """All that is held, by basic.nack, which is no failed delivery: https://www.rabbitmq.com/docs/4.3/nack."""
        async with asyncio.timeout(_CALL):
            if self._held:
                await self._channel.basic_nack(0, multiple=True, requeue=True)  # 0: all that is unacknowledged
            # Frames are handled in order: the answer to this one tells that every acknowledgement has arrived.
            await self._channel.close()


@asynccontextmanager
async def opened(connection: AbstractConnection, queue: Queue) -> AsyncIterator[Reading]:
    """Raises OpsError if the queue does not exist."""
    async with asyncio.timeout(_CALL):
        channel = await connection.channel(publisher_confirms=False)
        reading = Reading(channel, queue, await _ready(channel, queue))
    try:
        yield reading
    except BaseException:
        with suppress(*FAILURES):
            await reading.give_back()
        raise
    await reading.give_back()


async def send(channel: AbstractChannel, queue: Queue, message: DeliveredMessage) -> None:
    """To `queue` as if it came for the first time. Raises aiormq's errors unless the broker has confirmed."""
    # Without the headers, which tell of the burial, and with a message id of its own, which aiormq gives it.
    properties = Basic.Properties(
        content_type=message.header.properties.content_type,
        content_encoding=message.header.properties.content_encoding,
        delivery_mode=_PERSISTENT,
        timestamp=cloudevents.now(),
    )
    async with asyncio.timeout(_CALL):
        await channel.connection.ready()  # waits while the broker blocks publishers (memory or disk alarm)
        await channel.basic_publish(
            message.body, exchange=_DEFAULT_EXCHANGE, routing_key=queue.name, properties=properties, mandatory=True
        )


async def _ready(channel: AbstractChannel, queue: Queue) -> int:
    try:
        declared = await channel.queue_declare(queue.dead, passive=True)
    except aiormq.exceptions.ChannelNotFoundEntity:
        raise OpsError(f"there is no queue {queue.dead}: no service has connected to this broker yet") from None
    return declared.message_count or 0
