"""Publishes with confirms: a call returns when the broker has the message on disk, or raises."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import aiormq
from aiormq.abc import AbstractChannel, AbstractConnection
from pamqp.commands import Basic

from shared.messaging import cloudevents
from shared.messaging.connection import FAILURES, SupervisedConnection, silence_as_error

_CONFIRM = 5.0
_IN_FLIGHT = 256
_PERSISTENT = 2


class PublishError(Exception):
    """The broker did not confirm the message: not connected, blocked, refused or silent."""


class UnroutableError(PublishError):
    """No queue is bound for the routing key, so the broker has returned the message."""


class Publisher(SupervisedConnection):
    """One channel with up to 256 confirms in flight; its own connection, so that a blocked one stops no consumer."""

    def __init__(self, url: str, name: str) -> None:
        super().__init__(url, f"{name} publisher", self._confirming_channel)
        self._channel: AbstractChannel | None = None
        self._in_flight = asyncio.Semaphore(_IN_FLIGHT)

    async def publish(
        self, exchange: str, routing_key: str, body: bytes, headers: Mapping[str, Any] | None = None
    ) -> None:
        """Raises PublishError unless the broker confirmed within 5 s; it may have taken the message all the same."""
        properties = Basic.Properties(content_type=cloudevents.CONTENT_TYPE, headers=dict(headers or {}))
        if self._channel and not await self.is_up():
            raise PublishError("the broker blocks publishers, for lack of memory or disk")
        try:
            with silence_as_error():
                async with asyncio.timeout(_CONFIRM), self._in_flight:
                    await send(self._connected(), exchange, routing_key, body, properties)
        except aiormq.exceptions.PublishError as error:
            raise UnroutableError("no queue takes it") from error
        except FAILURES as error:
            raise PublishError(repr(error)) from error

    async def is_up(self) -> bool:
        """False too while the broker lacks memory or disk, as it tells whoever then publishes (connection.blocked)."""
        with suppress(TimeoutError, PublishError):
            async with asyncio.timeout(0):
                await self._connected().connection.ready()
                return True
        return False

    def _connected(self) -> AbstractChannel:
        if self._channel is None:
            raise PublishError("not connected")
        return self._channel

    @asynccontextmanager
    async def _confirming_channel(self, connection: AbstractConnection) -> AsyncIterator["asyncio.Future[object]"]:
        self._channel = await connection.channel(publisher_confirms=True)
        try:
            yield self._channel.closing
        finally:
            self._channel = None


async def send(
    channel: AbstractChannel, exchange: str, routing_key: str, body: bytes, properties: Basic.Properties
) -> None:
    """Returns when the broker has the message on disk, or raises aiormq's errors. Completes the properties.

    They need no message_id: aiormq makes a unique one per attempt, by which it recognises a returned message.
    """
    properties.delivery_mode = _PERSISTENT
    properties.timestamp = datetime.now(UTC)
    await channel.connection.ready()  # waits while the broker blocks publishers (memory or disk alarm)
    await channel.basic_publish(
        body, exchange=exchange, routing_key=routing_key, properties=properties, mandatory=True
    )
