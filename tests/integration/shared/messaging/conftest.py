"""A consumer of the queue `products.orders`, with a line of its own to the broker, and a relay of products."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from shared.db import Database
from shared.errors import AppError, Code
from shared.messaging.consumer import Consumer, Handled
from shared.messaging.deliveries import Received
from shared.messaging.outbox import Relay
from shared.messaging.publisher import Publisher
from shared.messaging.topology import PRODUCTS_ORDERS
from shared.tasks import BackgroundTasks
from tests.broker import Vhost
from tests.integration.line import Line, line_to
from tests.waiting import eventually


class Handler:
    """Applies batches to a list, all or nothing, as a transaction does; a test can watch, stop and break it."""

    def __init__(self) -> None:
        self.applied: list[int] = []
        self.batches: list[int] = []
        self.poison: int | None = None
        self.unlucky: set[int] = set()
        self.locked: set[int] = set()
        self.outage = False
        self.is_reachable = True
        self.probes = 0
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def handle(self, batch: Sequence[Received]) -> Handled:
        self.batches.append(len(batch))
        await self.may_go_on.wait()
        if self.outage or not self.is_reachable:
            raise AppError(Code.UNAVAILABLE, "The database did not answer")
        order_ids = [int(received.data["order_id"]) for received in batch]
        if self.poison in order_ids:
            raise AppError(Code.CONFLICT, "an order that cannot be applied")
        if self.unlucky.intersection(order_ids):
            raise LookupError("an error of the program")
        self.applied.extend(order_id for order_id in order_ids if order_id not in self.locked)
        return Handled({}, blocked=[each for each in batch if each.data["order_id"] in self.locked])

    async def is_up(self) -> bool:
        self.probes += 1
        return self.is_reachable


@asynccontextmanager
async def consuming(url: str, handler: Handler, publisher: Publisher) -> AsyncIterator[Consumer]:
    consumer = Consumer(url, "test", PRODUCTS_ORDERS, handler.handle, publisher, is_up=handler.is_up)
    running = asyncio.create_task(consumer.run())
    try:
        await eventually(lambda: consumer.connected)
        yield consumer
    finally:
        running.cancel()
        await asyncio.wait({running})


@pytest.fixture
def handler() -> Handler:
    return Handler()


@pytest.fixture
async def consumer_line(broker_line: Line, vhost: Vhost) -> AsyncIterator[Line]:
    """The consumer's own, beside the publisher's."""
    async with line_to(vhost.port) as line:
        yield line


@pytest.fixture
async def consumer(
    vhost: Vhost, handler: Handler, publisher: Publisher, consumer_line: Line
) -> AsyncIterator[Consumer]:
    url = f"amqp://guest:guest@127.0.0.1:{consumer_line.port}/{vhost.name}"
    async with consuming(url, handler, publisher) as consumer:
        yield consumer


@pytest.fixture
def relay(products_database: Database, publisher: Publisher) -> Relay:
    return Relay(products_database, publisher, "/products")


@pytest.fixture
async def running_relay(relay: Relay, tasks: BackgroundTasks) -> Relay:
    tasks.start("relay", relay.run())
    return relay
