import asyncio

import pytest

from shared.messaging.publisher import Publisher, PublishError
from shared.messaging.topology import EXCHANGE
from tests.broker import Vhost, headers
from tests.integration.line import Line
from tests.waiting import eventually, reaches
from tools.faults.servers import allow_memory
from tools.stack.rabbitmq import WATERMARK
from tools.stack.servers import Servers

QUEUE = "products.orders"


async def test_a_published_message_is_in_the_queue_when_the_call_returns(publisher: Publisher, vhost: Vhost) -> None:
    await publisher.publish(EXCHANGE, "order.created", b"[]", {"x-reason": "test"})

    [message] = await vhost.take(QUEUE)
    properties = message.header.properties
    assert message.body == b"[]"
    assert properties.delivery_mode == 2
    assert properties.content_type == "application/cloudevents-batch+json"
    assert headers(message) == {"x-reason": "test"}


async def test_many_messages_are_in_flight_at_once_and_arrive_in_order(publisher: Publisher, vhost: Vhost) -> None:
    bodies = [b"%d" % number for number in range(300)]

    await asyncio.gather(*(publisher.publish(EXCHANGE, "order.created", body) for body in bodies))

    assert [message.body for message in await vhost.take(QUEUE)] == bodies


async def test_without_a_connection_it_is_an_error_at_once_until_it_has_connected_again(
    publisher: Publisher, broker_line: Line, vhost: Vhost
) -> None:
    broker_line.cut()
    await eventually(lambda: not publisher.connected)
    with pytest.raises(PublishError, match="not connected"):
        await publisher.publish(EXCHANGE, "order.created", b"[]")

    broker_line.restore()
    await eventually(lambda: publisher.connected)
    await publisher.publish(EXCHANGE, "order.created", b"[]")
    assert await vhost.depth(QUEUE) == 1


async def test_a_silent_broker_is_an_error_within_its_limit(
    publisher: Publisher, broker_line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.messaging.publisher._CONFIRM", 0.2)
    broker_line.hold_answers()

    with pytest.raises(PublishError, match="Timeout"):
        async with asyncio.timeout(10):  # less than what the heartbeats take
            await publisher.publish(EXCHANGE, "order.created", b"[]")


async def test_a_broker_that_blocks_publishers_is_down_for_them(
    publisher: Publisher, servers: Servers, vhost: Vhost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.messaging.publisher._CONFIRM", 1.0)
    assert await publisher.is_up()
    await allow_memory(servers.rabbitmq, "0")
    try:
        with pytest.raises(PublishError):
            await publisher.publish(EXCHANGE, "order.created", b"[]")
        await reaches(publisher.is_up, False)
        assert publisher.connected
        with pytest.raises(PublishError, match="lack of memory or disk"):
            await publisher.publish(EXCHANGE, "order.created", b"[]")
    finally:
        await allow_memory(servers.rabbitmq, WATERMARK)
    await reaches(publisher.is_up, True)
    await publisher.publish(EXCHANGE, "order.created", b"[]")
