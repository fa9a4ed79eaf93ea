"""Dead letters as the services bury them, and as other senders might."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pamqp.commands import Basic

from ops.errors import OpsError
from shared.errors import Code
from shared.messaging import cloudevents, dead_letters
from shared.messaging.cloudevents import Event, Unreadable
from shared.messaging.dead_letters import NewerError
from shared.messaging.publisher import Publisher
from shared.messaging.topology import ORDERS_STOCK, PRODUCTS_ORDERS
from tests.broker import Vhost, headers
from tests.integration.ops.conftest import Ops
from tests.traces import TRACE_ID, traceparent
from tests.waiting import reaches

QUEUE, DEAD = PRODUCTS_ORDERS.name, PRODUCTS_ORDERS.dead
TRACEPARENT = traceparent()
UNKNOWN = "0123456789abcdef"


def order_created(event_id: int) -> Event:
    data = {"orderId": event_id, "productId": 7, "quantity": 1}
    return Event(str(event_id), "/orders", "order.created", "2026-01-01T00:00:00Z", TRACEPARENT, data)


async def bury(publisher: Publisher, *event_ids: int) -> None:
    """Buries these events in one queue, and bytes that are no text in another."""
    for event_id in event_ids:
        error = ValueError("the order cannot be applied")
        await dead_letters.bury(publisher, PRODUCTS_ORDERS, order_created(event_id), error)
    await dead_letters.bury_unreadable(publisher, ORDERS_STOCK, Unreadable(b"\xff\x00[]", "not JSON"))


async def ids(ops: Ops, broker: Vhost, count: int) -> dict[str, str]:
    """Event id to the id of its letter, once there are `count`: a letter that is given back counts a moment later."""
    await reaches(lambda: broker.depth(DEAD), count)
    answer = await ops("dead-letters", "list", "--queue", QUEUE)
    return {letter["eventId"]: letter["id"] for letter in answer.document["deadLetters"]}


async def publish_as(broker: Vhost, body: bytes, **properties: Any) -> None:
    async with broker.channel() as channel:
        await channel.basic_publish(
            body, routing_key=DEAD, properties=Basic.Properties(delivery_mode=2, **properties), mandatory=True
        )


async def test_no_dead_letters(ops: Ops, broker: Vhost) -> None:
    listed = await ops("dead-letters", "list")
    replayed = await ops("dead-letters", "replay", "--all")

    assert listed.document == {"deadLetters": [], "ready": {QUEUE: 0, "orders.stock": 0, "orders.products": 0}}
    assert (listed.text, listed.ok) == ("no dead letters", True)
    assert (replayed.document, replayed.ok) == ({"replayed": [], "unknown": []}, True)
    assert (await ops("parked", "list")).text == "no parked events"


async def test_an_unused_broker_is_one_clear_line(ops: Ops, vhost: Vhost, ops_environment: dict[str, str]) -> None:
    ops_environment["AMQP_URL"] = vhost.url

    with pytest.raises(OpsError, match=r"^there is no queue products\.orders\.dead: no service has connected"):
        await ops("dead-letters", "list")


@pytest.mark.usefixtures("broker")
async def test_the_list_says_where_each_comes_from_and_why(ops: Ops, publisher: Publisher) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    await bury(publisher, 13, 14)

    answer = await ops("dead-letters", "list")
    cut = await ops("dead-letters", "list", "--limit", "2")
    of_one_queue = await ops("dead-letters", "list", "--queue", "orders.stock")

    event, other, unreadable = answer.document["deadLetters"]
    assert before <= event.pop("time") <= datetime.now(UTC)
    assert len(event.pop("id")) == 16
    assert event == {
        "queue": QUEUE,
        "eventType": "order.created",
        "eventId": "13",
        "events": 1,
        "reason": "failed",
        "error": "ValueError: the order cannot be applied",
        "traceId": TRACE_ID,
    }
    expected = {"queue": "orders.stock", "eventId": None, "events": 0, "reason": "unreadable", "error": "not JSON"}
    assert expected.items() <= unreadable.items()
    assert answer.document["ready"] == {QUEUE: 2, "orders.stock": 1, "orders.products": 0}
    assert [letter["eventId"] for letter in cut.document["deadLetters"]] == ["13", other["eventId"]]
    assert ("shown" in answer.text, cut.text.splitlines()[-1]) == (False, "2 of 3 shown")
    assert of_one_queue.document["deadLetters"] == [unreadable]


async def test_a_letter_is_shown_whole_however_often(ops: Ops, publisher: Publisher, broker: Vhost) -> None:
    await bury(publisher, 1, 2, 3)
    first = await ids(ops, broker, 3)
    for _ in range(30):
        assert await ids(ops, broker, 3) == first
    shown = (await ops("dead-letters", "show", first["2"])).document

    assert (shown["eventId"], shown["contentType"]) == ("2", cloudevents.CONTENT_TYPE)
    assert {"x-reason": "failed", "traceparent": TRACEPARENT}.items() <= shown["headers"].items()
    assert shown["body"].encode() == cloudevents.encode([order_created(2)])
    with pytest.raises(OpsError, match=r"not there \(of each.*: no such"):
        await ops("dead-letters", "show", "no such\n")


async def test_bytes_that_are_no_text_come_back_unchanged(ops: Ops, publisher: Publisher, broker: Vhost) -> None:
    await bury(publisher)
    [letter] = (await ops("dead-letters", "list")).document["deadLetters"]

    shown = await ops("dead-letters", "show", letter["id"])
    await ops("dead-letters", "replay", letter["id"])

    assert shown.document["bodyBase64"] == "/wBbXQ=="
    await reaches(lambda: broker.depth("orders.stock"), 1)
    assert [message.body for message in await broker.take("orders.stock")] == [b"\xff\x00[]"]


@pytest.mark.parametrize(
    ("action", "chosen", "settled", "unknown", "left", "others_left"),
    [
        ("replay", ["2"], ["2"], [], ["1", "3"], 1),
        ("replay", [UNKNOWN, "1"], ["1"], [UNKNOWN], ["2", "3"], 1),
        ("drop", ["3", "1", "1"], ["1", "3"], [], ["2"], 1),
        ("drop", [UNKNOWN, "1", UNKNOWN], ["1"], [UNKNOWN], ["2", "3"], 1),
        ("replay", ["--all", "--queue", QUEUE], ["1", "2", "3"], [], [], 1),
        ("drop", ["--all", "--queue", QUEUE], ["1", "2", "3"], [], [], 1),
        ("replay", ["--all"], ["1", "2", "3"], [], [], 0),
    ],
)
async def test_the_letters_that_are_named_are_replayed_or_dropped_and_no_others(
    ops: Ops,
    publisher: Publisher,
    broker: Vhost,
    *,
    action: str,
    chosen: list[str],
    settled: list[str],
    unknown: list[str],
    left: list[str],
    others_left: int,
) -> None:
    await bury(publisher, 1, 2, 3)
    by_event = await ids(ops, broker, 3)

    answer = await ops("dead-letters", action, *(by_event.get(each, each) for each in chosen))

    done = answer.document[{"replay": "replayed", "drop": "dropped"}[action]]
    assert len(done) == len(settled) + 1 - others_left
    assert set(done) >= {by_event[each] for each in settled}
    assert (answer.document["unknown"], answer.ok) == (unknown, not unknown)
    arrived = len(settled) if action == "replay" else 0
    await reaches(lambda: broker.depth(QUEUE), arrived)
    messages = await broker.take(QUEUE)
    assert sorted(message.body for message in messages) == [
        cloudevents.encode([order_created(int(event_id))]) for event_id in settled[:arrived]
    ]
    for message in messages:  # each is sent as if for the first time
        properties = message.header.properties
        assert (properties.content_type, properties.delivery_mode) == (cloudevents.CONTENT_TYPE, 2)
        assert headers(message) == {}
    assert sorted(await ids(ops, broker, len(left))) == left
    await reaches(lambda: broker.depth(ORDERS_STOCK.dead), others_left)


async def test_what_is_parked_for_a_newer_release_is_listed_apart_and_sent_again_by_one_command(
    ops: Ops, publisher: Publisher, broker: Vhost
) -> None:
    await bury(publisher, 1)
    events = [order_created(2), order_created(3)]
    await dead_letters.bury(publisher, PRODUCTS_ORDERS, events[0], NewerError(Code.CONFLICT, "Its outcome is new"))
    newer = Unreadable(cloudevents.encode(events[1:]), "unknown type order.shipped", TRACEPARENT, is_newer=True)
    await dead_letters.bury_unreadable(publisher, PRODUCTS_ORDERS, newer)

    listed = await ops("parked", "list")
    shown = await ops("parked", "show", listed.document["parked"][1]["id"])
    retried = await ops("parked", "retry", "--all")

    found = [(each["eventId"], each["reason"], each["error"]) for each in listed.document["parked"]]
    errors = ["NewerError: Its outcome is new", "unknown type order.shipped"]
    assert found == [("2", "newer", errors[0]), ("3", "newer", errors[1])]
    assert shown.document["traceId"] == TRACE_ID
    assert (len(retried.document["retried"]), retried.text) == (2, "2 retried")
    await reaches(lambda: broker.depth(QUEUE), 2)
    assert [each.body for each in await broker.take(QUEUE)] == [cloudevents.encode([event]) for event in events]
    assert (await broker.depth(PRODUCTS_ORDERS.parked), list(await ids(ops, broker, 1))) == (0, ["1"])


@pytest.mark.parametrize("bodies", [[b"[1]", b"[1]"], [b"[1]", b"[2]"]], ids=["equal", "different"])
async def test_of_two_letters_with_one_message_id_one_is_dropped(ops: Ops, broker: Vhost, bodies: list[bytes]) -> None:
    for body in bodies:
        await publish_as(broker, body, message_id="same")
    first, second = (await ops("dead-letters", "list")).document["deadLetters"]

    await ops("dead-letters", "drop", first["id"])

    assert (first["id"] == second["id"]) == (bodies[0] == bodies[1])
    assert [message.body for message in await broker.take(DEAD)] == bodies[1:]


@pytest.mark.parametrize("declared_by", ["the services", "ops broker", "the services, then ops broker"])
async def test_a_letter_that_the_broker_itself_put_there(
    ops: Ops, vhost: Vhost, ops_environment: dict[str, str], declared_by: str
) -> None:
    """A refusal leaves the same headers as the delivery limit does, and the batch as it was."""
    broker = vhost
    ops_environment["AMQP_URL"] = broker.url
    if "services" in declared_by:
        await broker.declare()
    if "ops" in declared_by:
        ops_environment["AMQP_URL"] = (await broker.give_users())["operator"]
    batch = [order_created(1), order_created(2)]
    await broker.publish("order.created", cloudevents.encode(batch))
    async with broker.channel() as channel:
        message = await channel.basic_get(QUEUE)
        await channel.basic_reject(message.delivery_tag or 0, requeue=False)
        await reaches(lambda: broker.depth(DEAD), 1)

    listed = await ops("dead-letters", "list")
    [letter] = listed.document["deadLetters"]
    shown = await ops("dead-letters", "show", letter["id"])
    await ops("dead-letters", "replay", letter["id"])

    assert (letter["reason"], letter["error"]) == ("rejected", "dead-lettered by the broker, once")
    assert (letter["eventId"], letter["events"], letter["traceId"]) == ("1", 2, TRACE_ID)
    assert letter["time"] is not None
    assert "1 and 1 more" in listed.text
    assert shown.document["headers"]["x-death"][0]["queue"] == QUEUE
    await reaches(lambda: broker.depth(QUEUE), 1)
    [replayed] = await broker.take(QUEUE)
    assert (replayed.body, headers(replayed)) == (cloudevents.encode(batch), {})
