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
from tests.integration.shared.messaging.handling import Handler
from tests.waiting import eventually

DEAD = PRODUCTS_ORDERS.dead
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

UNREADABLE = {
    "not an object": 17,
    "specversion is not 1.0": event("order.created", {}, specversion="0.3"),
    "id is missing": event("order.created", {}, id=""),
    "data is not an object": {**event("order.created", {}), "data": [1]},
    "unknown type order.forgotten": event("order.forgotten", {}),
    "data: {'orderId': ['Missing data for required field.']}": event("order.created", {"productId": 7, "quantity": 1}),
    "data: {'quantity': ['Must be an integer from 1 to 1000000.']}": event(
        "order.created", {"orderId": 9, "productId": 7, "quantity": 1.5}
    ),
}


async def test_an_unreadable_event_becomes_a_dead_letter_with_its_reason_while_its_neighbours_go_on(
    consumer: Consumer, handler: Handler, vhost: Vhost
) -> None:
    first, last = orders_created(7, [1, 2])
    await vhost.publish("order.created", orjson.dumps([first, *UNREADABLE.values(), last]))
    await vhost.publish_batch(*orders_created(7, [3]))

    await eventually(lambda: handler.applied == [1, 2, 3])
    dead = await vhost.take(DEAD)
    assert {headers(message)["x-reason"] for message in dead} == {"unreadable"}
    assert {headers(message)["x-error"]: element_of(message) for message in dead} == UNREADABLE


def element_of(message: DeliveredMessage) -> Any:
    content = orjson.loads(message.body)
    return content[0] if isinstance(content, list) else content


@pytest.mark.parametrize(("body", "reason"), [(b"\xff[]", "not JSON"), (b"{}", "not a CloudEvents batch")])
async def test_an_unreadable_message_becomes_a_dead_letter_as_it_came(
    consumer: Consumer, handler: Handler, vhost: Vhost, body: bytes, reason: str
) -> None:
    await vhost.publish("order.created", body)
    await vhost.publish_batch(*orders_created(7, [1]))

    await eventually(lambda: handler.applied == [1])
    [dead] = await vhost.take(DEAD)
    assert dead.body == body
    assert headers(dead) == {"x-reason": "unreadable", "x-error": reason}


@pytest.mark.parametrize("depth", [300, 1000, 5000])
async def test_an_event_nested_too_deeply_becomes_a_dead_letter(
    consumer: Consumer, handler: Handler, vhost: Vhost, depth: int
) -> None:
    nested = b'{"specversion": "1.0", "deep": ' + b"[" * depth + b"]" * depth + b"}"
    await vhost.publish("order.created", b"[" + nested + b"]")
    await vhost.publish_batch(*orders_created(7, [1]))

    await eventually(lambda: handler.applied == [1], within=5)
    assert await vhost.depth(DEAD) == 1


async def test_what_is_too_long_for_a_header_is_cut(
    consumer: Consumer, handler: Handler, vhost: Vhost, publisher: Publisher
) -> None:
    """A frame of headers may have 128 KiB: more costs the connection."""
    handler.poison = 1
    endless = "x" * 200_000
    await vhost.publish("order.created", orjson.dumps([event(endless, {})]))
    await vhost.publish_batch({**orders_created(7, [1])[0], "traceparent": endless}, *orders_created(7, [2]))

    await eventually(lambda: handler.applied == [2])
    unreadable, failed = await vhost.take(DEAD)
    assert headers(unreadable)["x-error"] == f"unknown type {endless}"[:1000]
    assert headers(failed)["traceparent"] == endless[:1000]
    assert publisher.connected


async def test_of_a_failing_batch_only_the_culprit_is_buried(
    consumer: Consumer, handler: Handler, vhost: Vhost
) -> None:
    handler.poison = 13
    events = orders_created(7, range(1, 21))
    events[12]["traceparent"] = TRACEPARENT

    await vhost.publish_batch(*events)

    await eventually(lambda: len(handler.applied) == 19)
    [dead] = await vhost.take(DEAD)
    assert handler.applied == [order_id for order_id in range(1, 21) if order_id != 13]
    assert headers(dead) == {
        "x-reason": "failed",
        "x-error": "ValueError: an order that nobody can apply",
        "traceparent": TRACEPARENT,
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
    assert await vhost.depth(DEAD) == 1


async def test_a_dead_letter_keeps_what_nobody_here_knows(consumer: Consumer, handler: Handler, vhost: Vhost) -> None:
    handler.poison = 13
    [failing] = orders_created(7, [13])
    unknown = event("order.forgotten", {}, tenant="north")
    invalid = event("order.created", {}, subject="lamps")
    del failing["time"]

    await vhost.publish_batch({**failing, "tenant": "south"}, unknown, invalid)
    await vhost.publish_batch(*orders_created(7, [1]))

    await eventually(lambda: handler.applied == [1])
    dead = [element_of(message) for message in await vhost.take(DEAD)]
    assert sorted(dead, key=str) == sorted([{**failing, "tenant": "south"}, unknown, invalid], key=str)


@pytest.mark.parametrize("quantity", [1, 0], ids=["failed", "unreadable"])
async def test_the_log_line_of_a_dead_letter_is_found_by_the_trace_of_its_order(
    consumer: Consumer, handler: Handler, vhost: Vhost, quantity: int
) -> None:
    handler.poison = 13
    [event] = orders_created(7, [13], quantity)
    with capture_logs() as lines:
        await vhost.publish_batch({**event, "traceparent": TRACEPARENT})
        await eventually(lambda: "event buried" in [line["event"] for line in lines])

    [line] = [line for line in lines if line["event"] == "event buried"]
    assert line["trace_ids"] == ["0af7651916cd43dd8448eb211c80319c"]
