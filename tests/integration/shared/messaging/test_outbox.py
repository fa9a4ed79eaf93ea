import asyncio
from datetime import UTC, datetime

import aiormq
import pytest

from shared import metrics
from shared.db import Database
from shared.messaging import topology
from shared.messaging.outbox import Floor, Relay
from shared.messaging.publisher import Publisher
from shared.tasks import BackgroundTasks, repeat
from tests.broker import Vhost, Vhosts
from tests.integration.line import Line
from tests.traces import TRACE, traceparent
from tests.waiting import eventually, reaches

QUEUE = "products.orders"
ERRORS = {"nobody.listens": "UnroutableError: no queue takes it", "too.long" * 40: "ValueError: "}


async def write(database: Database, rows: int, event_type: str = "order.created", characters: int = 1) -> None:
    """As a service does in the transaction that causes the events, and then dies: the relay is not woken."""
    async with database.transaction() as connection:
        await connection.execute(
            """
            INSERT INTO outbox (type, payload, traceparent)
            SELECT $1, json_build_object('number', lpad(number::text, $4)), $3
            FROM generate_series(1, $2::int) AS number
            """,
            event_type,
            rows,
            traceparent(),
            characters,
        )


async def left(database: Database) -> int:
    """Committed rows, those that a relay has claimed and not yet deleted for good included."""
    async with database.connection() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM outbox"))


async def test_rows_are_published_unasked(products_database: Database, running_relay: Relay, vhost: Vhost) -> None:
    before = datetime.now(UTC)
    await write(products_database, rows=1)

    await reaches(lambda: left(products_database), 0)
    [event] = await vhost.take_events(QUEUE)
    assert abs((datetime.fromisoformat(event.pop("time")) - before).total_seconds()) < 30
    assert event == {
        "specversion": "1.0",
        "id": "1",
        "source": "/products",
        "type": "order.created",
        **TRACE,
        "data": {"number": "1"},
    }
    await write(products_database, rows=1)
    await reaches(lambda: left(products_database), 0)


async def test_rows_wait_for_the_broker(
    products_database: Database, publisher: Publisher, running_relay: Relay, vhost: Vhost, broker_line: Line
) -> None:
    broker_line.cut()
    await eventually(lambda: not publisher.connected)

    await write(products_database, rows=3)
    running_relay.wake()
    await running_relay.flush(limit=2)
    assert await left(products_database) == 3
    broker_line.restore()

    await reaches(lambda: left(products_database), 0)
    assert [event["id"] for event in await vhost.take_events(QUEUE)] == ["1", "2", "3"]


async def test_a_row_is_there_until_the_broker_has_confirmed_it(
    products_database: Database, publisher: Publisher, relay: Relay, vhost: Vhost, broker_line: Line
) -> None:
    await write(products_database, rows=1)
    broker_line.hold_answers()
    flush = asyncio.create_task(relay.flush(limit=10))

    await reaches(lambda: vhost.depth(QUEUE), 1)
    assert await left(products_database) == 1
    broker_line.cut()
    await flush
    assert await left(products_database) == 1

    broker_line.restore()
    await eventually(lambda: publisher.connected)
    await relay.flush(limit=5)
    assert await left(products_database) == 0
    assert [event["id"] for event in await vhost.take_events(QUEUE)] == ["1", "1"]


async def test_the_relay_goes_on_after_a_broker_that_missed_its_heartbeats(
    products_database: Database, vhost: Vhost, broker_line: Line, tasks: BackgroundTasks
) -> None:
    """Such as a broker that was frozen for half a minute with the heartbeat of 10 s."""
    url = f"amqp://guest:guest@127.0.0.1:{broker_line.port}/{vhost.name}?heartbeat=1"
    publisher = Publisher(url, "test")
    relay = Relay(products_database, publisher, "/products")
    tasks.start("publisher", publisher.run())
    tasks.start("relay", relay.run())
    await eventually(lambda: publisher.connected)
    broker_line.hold_answers()
    await write(products_database, rows=1)
    relay.wake()
    await eventually(lambda: not publisher.connected, within=30)
    broker_line.restore()

    await reaches(lambda: left(products_database), 0)
    assert tasks.failed == set()


async def test_a_flush_waits_for_the_round_that_is_under_way(
    products_database: Database, running_relay: Relay, vhost: Vhost, broker_line: Line
) -> None:
    broker_line.hold_answers()
    await write(products_database, rows=1)
    running_relay.wake()

    await reaches(lambda: vhost.depth(QUEUE), 1)
    flush = asyncio.create_task(running_relay.flush(limit=4))
    ended, _ = await asyncio.wait({flush}, timeout=0.2)
    broker_line.restore()
    await flush

    assert not ended
    assert await left(products_database) == 0


async def parked(database: Database) -> list[tuple[int, int, str]]:
    """Id, attempts and the last error of each parked event."""
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT id, attempts, last_error FROM parked_events ORDER BY id")
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("event_type", ERRORS, ids=["unroutable", "impossible to send"])
async def test_rows_that_cannot_be_published_are_parked_and_stop_no_other(
    products_database: Database, relay: Relay, vhost: Vhost, tasks: BackgroundTasks, event_type: str
) -> None:
    """However many: one claim holds 1,024 rows. Each is parked after ten tries, once it is a minute old."""
    attempts = 10
    await write(products_database, rows=1_500, event_type=event_type)
    async with products_database.connection() as connection:
        await connection.execute("UPDATE outbox SET created_at = now() - interval '1 minute'")
    await write(products_database, rows=1)
    tasks.start("watch", repeat("watch", 0.1, relay.measure))

    for _ in range(2 * attempts):
        await relay.flush(limit=20)

    assert [event["id"] for event in await vhost.take_events(QUEUE)] == ["1501"]
    assert await left(products_database) == 0
    found = await parked(products_database)
    assert [(row_id, tries) for row_id, tries, _ in found] == [(number, attempts) for number in range(1, 1_501)]
    assert all(last_error.startswith(ERRORS[event_type]) for _, _, last_error in found)
    await eventually(lambda: b"outbox_parked_rows 1500.0\n" in metrics.exposition())


async def test_rows_that_no_queue_takes_wait_for_a_minute(
    products_database: Database, relay: Relay, vhost: Vhost
) -> None:
    """Until somebody declares again what was deleted."""
    async with vhost.channel() as channel:
        await channel.queue_unbind(QUEUE, topology.EXCHANGE, "order.created")
    await write(products_database, rows=3)

    for _ in range(12):
        await relay.flush(limit=5)
    assert (await left(products_database), await parked(products_database)) == (3, [])
    await vhost.declare()
    await relay.flush(limit=5)

    assert len(await vhost.take_events(QUEUE)) == 3
    assert (await left(products_database), await parked(products_database)) == (0, [])


async def test_what_is_confirmed_beside_a_refused_message_is_sent_once(
    products_database: Database, relay: Relay, vhost: Vhost, vhosts: Vhosts
) -> None:
    await vhosts.limit(vhost, QUEUE, messages=1)
    await reaches(lambda: refuses(vhost), True)
    await write(products_database, rows=1)
    async with products_database.connection() as connection:
        await connection.execute("UPDATE outbox SET attempts = 10")  # it was parked before
    await write(products_database, rows=1, event_type="order.updated")

    for _ in range(2):
        await relay.flush(limit=5)

    assert [event["id"] for event in await vhost.take_events("orders.stock")] == ["2"]
    assert (await left(products_database), await parked(products_database)) == (1, [])


async def refuses(vhost: Vhost) -> bool:
    """Whether the queue is full."""
    try:
        await vhost.publish("order.created", b"[]")
    except aiormq.exceptions.DeliveryError:
        return True
    return False


async def test_events_are_published_in_order_256_in_a_message_and_fewer_if_they_are_long(
    products_database: Database, relay: Relay, vhost: Vhost
) -> None:
    for event_type in ("order.created", "order.cancelled", "order.created"):
        await write(products_database, rows=512, event_type=event_type)
    await write(products_database, rows=1, event_type="order.updated")

    await relay.flush(limit=20)

    assert await vhost.depth(QUEUE) == 6
    ids = [int(event["id"]) for event in await vhost.take_events(QUEUE)]
    assert ids == list(range(1, 1537))
    assert len(await vhost.take_events("orders.stock")) == 1

    await write(products_database, rows=7, characters=30_000)
    await write(products_database, rows=1, characters=200_000)
    await relay.flush(limit=20)
    assert await vhost.depth(QUEUE) == 4
    assert len(await vhost.take_events(QUEUE)) == 8


async def test_two_relays_publish_a_row_once(products_database: Database, publisher: Publisher, vhost: Vhost) -> None:
    await write(products_database, rows=3_000)
    relays = [Relay(products_database, publisher, "/products") for _ in range(2)]

    await asyncio.gather(*(relay.flush(limit=20) for relay in relays))

    ids = sorted(int(event["id"]) for event in await vhost.take_events(QUEUE))
    assert ids == list(range(1, 3_001))


async def test_a_long_span_of_ids_is_no_full_outbox(
    products_database: Database, relay: Relay, tasks: BackgroundTasks
) -> None:
    async with products_database.connection() as connection:
        for row_id in (1, 5_000_000):
            await connection.execute(
                "INSERT INTO outbox (id, type, payload) OVERRIDING SYSTEM VALUE VALUES ($1, 'test', '{}')", row_id
            )

    tasks.start("watch", repeat("watch", 0.1, relay.measure))

    await eventually(lambda: b"outbox_rows 2.0\n" in metrics.exposition())
    assert b"outbox_oldest_seconds 0.0\n" not in metrics.exposition()
    assert not relay.full


def test_a_look_begins_behind_what_was_claimed_a_while_ago_and_at_the_first_row_every_ten_seconds() -> None:
    floor, found = Floor(), []
    for now, claimed in ((100, 5), (109, 9), (110, 12), (119, 15), (120, 3), (129, 4), (130, 6), (139, 7)):
        found.append(floor.begin(now))
        floor.claimed = claimed
    assert found == [0, 0, 0, 0, 0, 9, 0, 15]
