"""A handler of events that tests can watch, stop and break, and the consumer in front of it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from shared.errors import AppError, Code
from shared.messaging.consumer import Consumer, Received
from shared.messaging.dead_letters import DeadLetters
from shared.messaging.publisher import Publisher
from shared.messaging.topology import PRODUCTS_ORDERS
from tests.waiting import eventually


class Handler:
    """Applies batches to a list, all or nothing, as a transaction does."""

    def __init__(self) -> None:
        self.applied: list[int] = []
        self.batches: list[int] = []
        self.poison: int | None = None
        self.outage = False
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def handle(self, batch: Sequence[Received]) -> Mapping[str, int]:
        self.batches.append(len(batch))
        await self.may_go_on.wait()
        if self.outage:
            raise AppError(Code.UNAVAILABLE, "The database cannot be reached")
        order_ids = [int(received.data["order_id"]) for received in batch]
        if self.poison in order_ids:
            raise ValueError("an order that nobody can apply")
        self.applied.extend(order_ids)
        return {}


@asynccontextmanager
async def consuming(url: str, handler: Handler, publisher: Publisher) -> AsyncIterator[Consumer]:
    consumer = Consumer(url, "test", PRODUCTS_ORDERS, handler.handle, DeadLetters(publisher))
    running = asyncio.create_task(consumer.run())
    try:
        await eventually(lambda: consumer.connected)
        yield consumer
    finally:
        running.cancel()
        await asyncio.wait({running})
