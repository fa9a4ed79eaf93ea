"""Reads the queues beside the services' own over AMQP; letters that are not taken go back to their queue."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiormq
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage
from pamqp.commands import Basic

from ops.errors import OpsError, first_line
from shared.messaging import publisher
from shared.messaging.connection import FAILURES, close
from shared.messaging.connection import connect as open_connection
from shared.messaging.topology import QUEUE_EXCHANGE, Queue

_CALL = 10.0


@asynccontextmanager
async def connect(*hosts: str) -> AsyncIterator[AbstractConnection]:
    """To the first of these URLs that answers. Raises OpsError for every failure of the broker, in the context too."""
    try:
        connection = await open_connection(deque(hosts), "ops")
    except FAILURES as error:
        raise OpsError(f"the broker cannot be reached: {first_line(error)}") from error
    try:
        yield connection
    except FAILURES as error:
        raise OpsError(f"the broker failed: {first_line(error)}") from error
    finally:
        await close(connection)


class Reading:
    """The letters of `queue` that were there when it was opened; no other reader gets them until the context ends."""

    def __init__(self, channel: AbstractChannel, queue: Queue, source: str, ready: int) -> None:
        self.queue = queue
        self.ready = ready
        self._source = source
        self._channel = channel

    async def letters(self, most: int) -> AsyncIterator[DeliveredMessage]:
        """Yields at most `most` letters, none that arrived after the queue was opened."""
        for _ in range(min(most, self.ready)):
            async with asyncio.timeout(_CALL):
                message = await self._channel.basic_get(self._source)
            if message.delivery_tag is None:
                return  # another reader has the rest
            yield message

    async def take(self, message: DeliveredMessage) -> None:
        """Removes the letter from the queue; the broker has done so when the context has ended."""
        async with asyncio.timeout(_CALL):
            await self._channel.basic_ack(message.delivery_tag or 0)

    async def give_back(self) -> None:
        """Returns all held letters with basic.nack, which is not a failed delivery: https://www.rabbitmq.com/docs/4.3/nack."""
        async with asyncio.timeout(_CALL):
            await self._channel.basic_nack(0, multiple=True, requeue=True)  # 0 means every unacknowledged one
            # The broker handles frames in order: its answer to this one follows all acknowledgements.
            await self._channel.close()


@asynccontextmanager
async def opened(connection: AbstractConnection, queue: Queue, source: str) -> AsyncIterator[Reading]:
    """Opens `source`, one of the two beside the queue. Raises OpsError if it does not exist."""
    async with asyncio.timeout(_CALL):
        channel = await connection.channel(publisher_confirms=False)
        try:
            declared = await channel.queue_declare(source, passive=True)
        except aiormq.exceptions.ChannelNotFoundEntity:
            raise OpsError(f"there is no queue {source}: no service has connected to this broker yet") from None
    reading = Reading(channel, queue, source, declared.message_count or 0)
    try:
        yield reading
    except BaseException:
        with suppress(*FAILURES):
            await reading.give_back()
        raise
    await reading.give_back()


async def send(channel: AbstractChannel, queue: Queue, message: DeliveredMessage) -> None:
    """Sends it to `queue` as if for the first time. Raises aiormq's errors unless the broker has confirmed."""
    # The headers, which describe the failure, are left out.
    properties = Basic.Properties(
        content_type=message.header.properties.content_type,
        content_encoding=message.header.properties.content_encoding,
    )
    async with asyncio.timeout(_CALL):
        await publisher.send(channel, QUEUE_EXCHANGE, queue.name, message.body, properties)
