"""Dead letters as the services bury them, and as strangers might."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from pamqp.commands import Basic

from ops.errors import OpsError
from shared.messaging import cloudevents
from shared.messaging.cloudevents import Event, Unreadable
from shared.messaging.dead_letters import DeadLetters
from shared.messaging.publisher import Publisher
from shared.messaging.topology import ORDERS_STOCK, PRODUCTS_ORDERS
from tests.broker import Vhost, headers
from tests.integration.ops.conftest import Ops
from tests.waiting import eventually

QUEUE, DEAD = PRODUCTS_ORDERS.name, PRODUCTS_ORDERS.dead
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"


@pytest.fixture
async def dead_letters(publisher: Publisher, broker: Vhost) -> DeadLetters:
    """Buries in `broker`."""
    return DeadLetters(publisher)


def order_created(event_id: int) -> Event:
    data = {"orderId": event_id, "productId": 7, "quantity": 1}
    return Event(str(event_id), "/orders", "order.created", "2026-01-01T00:00:00Z", TRACEPARENT, data)


async def bury(dead_letters: DeadLetters, *event_ids: int) -> None:
    for event_id in event_ids:
        await dead_letters.bury(PRODUCTS_ORDERS, order_created(event_id), ValueError("an order that nobody can apply"))


async def ids(ops: Ops, broker: Vhost, count: int) -> dict[str, str]:
    """Event id to the id of its letter, once there are `count`: what was given back is counted a moment later."""
    await eventually(lambda: ready(broker, DEAD, count))
    answer = await ops("dead-letters", "list")
    return {letter["eventId"]: letter["id"] for letter in answer.document["deadLetters"]}


async def test_no_dead_letters(ops: Ops, broker: Vhost) -> None:
    listed = await ops("dead-letters", "list")
    replayed = await ops("dead-letters", "replay", "--all")

    assert listed.document == {"deadLetters": [], "ready": {QUEUE: 0, "orders.stock": 0, "orders.products": 0}}
    assert (listed.text, listed.ok) == ("no dead letters", True)
    assert (replayed.document, replayed.ok) == ({"replayed": [], "unknown": []}, True)


async def test_a_broker_that_no_service_has_used_is_one_clear_line(
    ops: Ops, vhost: Vhost, ops_environment: dict[str, str]
) -> None:
    ops_environment["AMQP_URL"] = vhost.url

    with pytest.raises(OpsError, match=r"^there is no queue products\.orders\.dead: no service has connected"):
        await ops("dead-letters", "list")


async def test_the_list_says_where_each_comes_from_and_why(ops: Ops, dead_letters: DeadLetters) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    await bury(dead_letters, 13)
    await dead_letters.bury_unreadable(ORDERS_STOCK, Unreadable(b"\xff[]", "not JSON"))

    answer = await ops("dead-letters", "list")

    event, unreadable = answer.document["deadLetters"]
    assert before <= event.pop("time") <= datetime.now(UTC)
    assert len(event.pop("id")) == 16
    assert event == {
        "queue": QUEUE,
        "eventType": "order.created",
        "eventId": "13",
        "events": 1,
        "reason": "failed",
        "error": "ValueError: an order that nobody can apply",
        "traceId": TRACE_ID,
    }
    assert {name: unreadable[name] for name in ("queue", "eventType", "eventId", "events", "reason", "error")} == {
        "queue": "orders.stock",
        "eventType": None,
        "eventId": None,
        "events": 0,
        "reason": "unreadable",
        "error": "not JSON",
    }
    assert answer.document["ready"] == {QUEUE: 1, "orders.stock": 1, "orders.products": 0}


async def test_a_long_list_is_cut_and_says_so(ops: Ops, dead_letters: DeadLetters) -> None:
    await bury(dead_letters, 1, 2, 3)
    await dead_letters.bury_unreadable(ORDERS_STOCK, Unreadable(b"", "not JSON"))

    cut = await ops("dead-letters", "list", "--limit", "2")
    of_one_queue = await ops("dead-letters", "list", "--queue", "orders.stock")

    assert [letter["eventId"] for letter in cut.document["deadLetters"]] == ["1", "2"]
    assert cut.text.endswith("\n2 of 4 shown")
    assert [letter["queue"] for letter in of_one_queue.document["deadLetters"]] == ["orders.stock"]


async def test_looking_fifty_times_changes_nothing(ops: Ops, dead_letters: DeadLetters, broker: Vhost) -> None:
    await bury(dead_letters, 1, 2, 3)
    first = await ids(ops, broker, 3)

    for _ in range(50):
        assert await ids(ops, broker, 3) == first
    shown = await ops("dead-letters", "show", first["2"])

    assert orjson.loads(shown.document["body"])[0]["id"] == "2"
    assert set(first) == {"1", "2", "3"}


async def test_a_letter_is_shown_whole(ops: Ops, dead_letters: DeadLetters, broker: Vhost) -> None:
    await bury(dead_letters, 1, 2)

    shown = (await ops("dead-letters", "show", (await ids(ops, broker, 2))["2"])).document

    assert shown["eventId"] == "2"
    assert shown["contentType"] == cloudevents.CONTENT_TYPE
    assert {name: shown["headers"][name] for name in ("x-reason", "traceparent")} == {
        "x-reason": "failed",
        "traceparent": TRACEPARENT,
    }
    assert shown["body"].encode() == cloudevents.encode([order_created(2)])


async def test_bytes_that_are_no_text_are_shown_and_come_back_as_they_were(
    ops: Ops, dead_letters: DeadLetters, broker: Vhost
) -> None:
    await dead_letters.bury_unreadable(PRODUCTS_ORDERS, Unreadable(b"\xff\x00[]", "not JSON"))
    [letter] = (await ops("dead-letters", "list")).document["deadLetters"]

    shown = await ops("dead-letters", "show", letter["id"])
    await ops("dead-letters", "replay", letter["id"])

    assert shown.document["bodyBase64"] == "/wBbXQ=="
    await eventually(lambda: ready(broker, QUEUE, 1))
    assert [message.body for message in await broker.take(QUEUE)] == [b"\xff\x00[]"]


async def test_replaying_one_leaves_its_neighbours(ops: Ops, dead_letters: DeadLetters, broker: Vhost) -> None:
    await bury(dead_letters, 1, 2, 3)

    answer = await ops("dead-letters", "replay", (await ids(ops, broker, 3))["2"])

    assert (len(answer.document["replayed"]), answer.document["unknown"], answer.ok) == (1, [], True)
    await eventually(lambda: ready(broker, QUEUE, 1))
    [message] = await broker.take(QUEUE)
    assert message.body == cloudevents.encode([order_created(2)])
    properties = message.header.properties
    assert (properties.content_type, properties.delivery_mode) == (cloudevents.CONTENT_TYPE, 2)
    assert headers(message) == {}
    assert set(await ids(ops, broker, 2)) == {"1", "3"}


async def test_dropping_some_leaves_their_neighbours(ops: Ops, dead_letters: DeadLetters, broker: Vhost) -> None:
    await bury(dead_letters, 1, 2, 3, 4)
    by_event = await ids(ops, broker, 4)

    answer = await ops("dead-letters", "drop", by_event["4"], by_event["1"], by_event["1"])

    assert (set(answer.document["dropped"]), answer.ok) == ({by_event["1"], by_event["4"]}, True)
    assert set(await ids(ops, broker, 2)) == {"2", "3"}
    assert await broker.depth(QUEUE) == 0


@pytest.mark.parametrize(("action", "done"), [("replay", "replayed"), ("drop", "dropped")])
async def test_an_unknown_id_is_named_and_the_others_are_done(
    ops: Ops, dead_letters: DeadLetters, broker: Vhost, action: str, done: str
) -> None:
    await bury(dead_letters, 1, 2)
    by_event = await ids(ops, broker, 2)

    answer = await ops("dead-letters", action, "0123456789abcdef", by_event["1"])

    assert answer.document == {done: [by_event["1"]], "unknown": ["0123456789abcdef"]}
    assert not answer.ok
    assert list(await ids(ops, broker, 1)) == ["2"]


async def test_an_unknown_id_cannot_be_shown(ops: Ops, dead_letters: DeadLetters) -> None:
    await bury(dead_letters, 1)

    with pytest.raises(OpsError, match=r"not among the dead letters.*: no such"):
        await ops("dead-letters", "show", "no such\n")


@pytest.mark.parametrize(("action", "arrived"), [("replay", 2), ("drop", 0)])
async def test_all_of_one_queue(ops: Ops, dead_letters: DeadLetters, broker: Vhost, action: str, arrived: int) -> None:
    await bury(dead_letters, 1, 2)
    await dead_letters.bury_unreadable(ORDERS_STOCK, Unreadable(b"{}", "not a CloudEvents batch"))

    answer = await ops("dead-letters", action, "--all", "--queue", QUEUE)

    assert answer.ok
    await eventually(lambda: ready(broker, QUEUE, arrived))
    assert await broker.depth(DEAD) == 0
    assert await broker.depth(ORDERS_STOCK.dead) == 1


async def test_of_two_identical_letters_an_id_takes_one(ops: Ops, broker: Vhost) -> None:
    for _ in range(2):
        await publish_as(broker, b"[1]", message_id="same")
    first, second = (await ops("dead-letters", "list")).document["deadLetters"]

    await ops("dead-letters", "drop", first["id"])

    assert first["id"] == second["id"]
    assert await broker.depth(DEAD) == 1


async def test_a_message_id_that_is_used_twice_names_two_letters(ops: Ops, broker: Vhost) -> None:
    for body in (b"[1]", b"[2]"):
        await publish_as(broker, body, message_id="same")
    first, second = (await ops("dead-letters", "list")).document["deadLetters"]

    await ops("dead-letters", "drop", first["id"])

    assert first["id"] != second["id"]
    assert [message.body for message in await broker.take(DEAD)] == [b"[2]"]


async def test_one_that_the_broker_itself_put_there(ops: Ops, broker: Vhost) -> None:
    """Here by a refusal, as beyond the delivery limit: the same headers, and the batch as it was."""
    batch = [order_created(1), order_created(2)]
    await broker.publish("order.created", cloudevents.encode(batch))
    async with broker.channel() as channel:
        message = await channel.basic_get(QUEUE)
        await channel.basic_reject(message.delivery_tag or 0, requeue=False)
        await eventually(lambda: ready(broker, DEAD, 1))

    [letter] = (await ops("dead-letters", "list")).document["deadLetters"]
    shown = await ops("dead-letters", "show", letter["id"])
    await ops("dead-letters", "replay", letter["id"])

    assert (letter["reason"], letter["error"]) == ("rejected", "dead-lettered by the broker, once")
    assert (letter["eventId"], letter["events"], letter["traceId"]) == ("1", 2, TRACE_ID)
    assert letter["time"] is not None
    assert shown.document["headers"]["x-death"][0]["queue"] == QUEUE
    await eventually(lambda: ready(broker, QUEUE, 1))
    [replayed] = await broker.take(QUEUE)
    assert (replayed.body, headers(replayed)) == (cloudevents.encode(batch), {})


async def test_headers_of_strangers_can_be_shown(ops: Ops, broker: Vhost) -> None:
    strange: dict[str, Any] = {
        "x-reason": "\x1b[2J",
        "when": datetime(2026, 1, 1, tzinfo=UTC),
        "bytes": bytearray(b"\xff"),
        "nested": {"list": [1, None, "x"]},
    }
    await publish_as(broker, b"[]", headers=strange)

    listed = await ops("dead-letters", "list")
    [letter] = listed.document["deadLetters"]
    shown = await ops("dead-letters", "show", letter["id"])

    assert "\x1b" not in listed.text + shown.text
    assert shown.document["headers"]["nested"] == {"list": [1, None, "x"]}


async def publish_as(broker: Vhost, body: bytes, **properties: Any) -> None:
    async with broker.channel() as channel:
        await channel.basic_publish(
            body, routing_key=DEAD, properties=Basic.Properties(delivery_mode=2, **properties), mandatory=True
        )


async def ready(broker: Vhost, queue: str, count: int) -> bool:
    return await broker.depth(queue) == count
