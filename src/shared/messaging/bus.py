"""The messaging of one service: its publisher, its relay and its consumers, opened and closed in order."""

import asyncio
from typing import Self

from shared.db import Database
from shared.messaging.consumer import Consumer, Handle
from shared.messaging.outbox import Relay
from shared.messaging.publisher import Publisher
from shared.messaging.topology import Queue
from shared.tasks import BackgroundTasks, repeat

_FLUSH = 4.0
_WATCH = 1.0


class Bus:
    """`relay` publishes the events that the service emits; `consume` subscribes it to a queue.

    `tasks` must end after this context, because the last flush needs them.
    """

    def __init__(self, url: str, service: str, database: Database, tasks: BackgroundTasks) -> None:
        self._url = url
        self._service = service
        self._database = database
        self._tasks = tasks
        self._publisher = Publisher(url, service)
        self._consumers: list[Consumer] = []
        self.relay = Relay(database, self._publisher, f"/{service}")
        tasks.start("publisher", self._publisher.run())
        tasks.start("relay", self.relay.run())
        tasks.start("outbox watch", repeat("outbox watch", _WATCH, self.relay.measure))

    def consume(self, queue: Queue, handle: Handle) -> None:
        is_up = self._database.is_up
        consumer = Consumer(self._url, self._service, queue, handle, self._publisher, is_up=is_up)
        self._consumers.append(consumer)
        self._tasks.start(f"consumer of {queue.name}", consumer.run())

    async def is_up(self) -> bool:
        consuming = all(consumer.connected or consumer.stalled for consumer in self._consumers)
        return consuming and await self._publisher.is_up()

    async def consumes(self) -> bool:
        """False while events wait in a consumer: for a server, for a lock, or because they have failed."""
        return not any(consumer.stalled for consumer in self._consumers)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stops the consumers, then publishes what the last batches and requests left in the outbox."""
        await asyncio.gather(*(consumer.stop() for consumer in self._consumers))
        await self.relay.flush(_FLUSH)
