"""A consumer of the queue `products.orders`, with a line of its own to the broker."""

from collections.abc import AsyncIterator

import pytest

from shared.messaging.consumer import Consumer
from shared.messaging.publisher import Publisher
from tests.broker import Vhost
from tests.integration.line import Line, line_to
from tests.integration.shared.messaging.handling import Handler, consuming


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
