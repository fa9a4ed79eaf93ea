from typing import Any

import orjson
import pytest
from aiormq.abc import DeliveredMessage
from structlog.testing import capture_logs

from shared.messaging.consumer import Consumer
from shared.messaging.publisher import Publisher
from shared.messaging.topology import PRODUCTS_ORDERS
from tests.broker import Vhost, event, headers, orders_created
from tests.integration.line import Line
from tests.integration.shared.messaging.conftest import Handler, consuming
from tests.traces import TRACE, TRACE_ID
from tests.waiting import eventually, reaches

DEAD, PARKED = PRODUCTS_ORDERS.dead, PRODUCTS_ORDERS.parked

UNREADABLE = {
    "not an object": 17,
    "data: {'orderId': ['Missing data for required field.']}": event("order.created", {"productId": 7, "quantity": 1}),
    "data: {'quantity': ['Must be an integer from 1 to 1000000.']}": event(
        "order.created", {"orderId": 9, "productId": 7, "quantity": 1.5}, subject="lamps"
    ),
}
NEWER = {
    "unknown type order.forgotten": event("order.forgotten", {}, tenant="north"),
    "unknown type order.updated": event("order.updated", {"orderId": 7, "productId": 7, "status": "done"}),
}


def element_of(message: DeliveredMessage) -> Any:
    content = orjson.loads(message.body)
    return content[0] if isinstance(content, list) else content


async def test_an_unreadable_event_becomes_a_dead_letter_with_all_its_attributes_while_its_neighbours_go_on(
    consumer: Consumer, handler: Handler, vhost: Vhost
) -> None:
    first, last = orders_created(7, [1, 2])
    await vhost.publish("order.created", orjson.dumps([first, *UNREADABLE.values(), last]))
    await vhost.publish_batch(*orders_created(7, [3]))

    await eventually(lambda: handler.applied == [1, 2, 3])
    await consumer.stop()  # after the batch
    dead = await vhost.take(DEAD)
    assert {headers(message)["x-reason"] for message in dead} == {"unreadable"}
    assert {headers(message)["x-error"]: element_of(message) for message in dead} == UNREADABLE


async def test_an_event_of_a_type_that_this_queue_does_not_know_is_parked(
    consumer: Consumer, handler: Handler, vhost: Vhost
) -> None:
    """Also one that another queue knows: a newer release has bound it."""
    with capture_logs() as lines:
        await vhost.publish("order.created", orjson.dumps([*orders_created(7, [1]), *NEWER.values()]))
        await eventually(lambda: handler.applied == [1])
        await consumer.stop()  # after the batch

    parked = await vhost.take(PARKED)
    assert {headers(message)["x-reason"] for message in parked} == {"newer"}
    assert {headers(message)["x-error"]: element_of(message) for message in parked} == NEWER
    assert await vhost.depth(DEAD) == 0
    assert [line["log_level"] for line in lines if line["event"] == "event parked"] == ["warning"] * 2


async def test_an_unreadable_message_is_buried_as_it_came(consumer: Consumer, handler: Handler, vhost: Vhost) -> None:
    nested = b'[{"specversion": "1.0", "deep": ' + b"[" * 300 + b"]" * 300 + b"}]"
    reasons = {b"\xff[]": "not JSON", b"{}": "not a CloudEvents batch", nested: "nested too deeply"}
    for body in reasons:
        await vhost.publish("order.created", body)
    await vhost.publish_batch(*orders_created(7, [1]))

    await eventually(lambda: handler.applied == [1])
    await consumer.stop()  # after the batch
    found = {dead.body: headers(dead) for dead in await vhost.take(DEAD)}
    assert found == {body: {"x-reason": "unreadable", "x-error": reason} for body, reason in reasons.items()}


async def test_a_text_that_is_too_long_for_a_header_is_cut(
    consumer: Consumer, handler: Handler, vhost: Vhost, publisher: Publisher
) -> None:
    """A frame of headers may have 128 KiB: more costs the connection."""
    handler.poison = 1
    endless = "x" * 200_000
    await vhost.publish("order.created", orjson.dumps([event(endless, {})]))
    await vhost.publish_batch({**orders_created(7, [1])[0], "traceparent": endless}, *orders_created(7, [2]))

    await eventually(lambda: handler.applied == [2])
    await consumer.stop()  # after the batch
    [failed], [unknown] = await vhost.take(DEAD), await vhost.take(PARKED)
    assert headers(unknown)["x-error"] == f"unknown type {endless}"[:1000]
    assert headers(failed)["traceparent"] == endless[:1000]
    assert publisher.connected


async def test_only_the_faulty_event_of_a_batch_is_buried(consumer: Consumer, handler: Handler, vhost: Vhost) -> None:
    handler.poison = 13
    events = orders_created(7, range(1, 21))
    events[12] |= {**TRACE, "tenant": "south"}
    del events[12]["time"]

    await vhost.publish_batch(*events)

    await eventually(lambda: len(handler.applied) == 19)
    [dead] = await vhost.take(DEAD)
    assert handler.applied == [order_id for order_id in range(1, 21) if order_id != 13]
    assert headers(dead) == {
        "x-reason": "failed",
        "x-error": "AppError: an order that cannot be applied",
        **TRACE,
    }
    assert orjson.loads(dead.body) == [events[12]]


async def test_a_dead_letter_waits_for_the_publisher(
    consumer: Consumer, handler: Handler, vhost: Vhost, publisher: Publisher, broker_line: Line
) -> None:
    broker_line.cut()
    await eventually(lambda: not publisher.connected)
    await vhost.publish_batch({"type": "order.created"}, *orders_created(7, [1]))
    broker_line.restore()

    await eventually(lambda: handler.applied == [1])
    await reaches(lambda: vhost.depth(DEAD), 1)


@pytest.mark.parametrize("quantity", [1, 0], ids=["failed", "unreadable"])
async def test_the_log_line_of_a_dead_letter_is_found_by_the_trace_of_its_order(
    consumer: Consumer, handler: Handler, vhost: Vhost, quantity: int
) -> None:
    handler.poison = 13
    [event] = orders_created(7, [13], quantity)
    with capture_logs() as lines:
        await vhost.publish_batch(event | TRACE)
        await eventually(lambda: "event buried" in [line["event"] for line in lines])

    assert [line["trace_ids"] for line in lines if line["event"] == "event buried"] == [[TRACE_ID]]


async def test_a_dead_letter_waits_until_its_queue_that_was_deleted_is_declared_again(
    handler: Handler, publisher: Publisher, vhost: Vhost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.messaging.consumer._LOOK", 0.5)
    async with vhost.channel() as channel, consuming(vhost.url, handler, publisher) as consumer:
        await channel.queue_delete(DEAD)
        await vhost.publish("order.created", orjson.dumps([17, *orders_created(7, [1])]))
        await eventually(lambda: handler.applied == [1])
        await consumer.stop()  # after the batch
    assert [element_of(message) for message in await vhost.take(DEAD)] == [17]
