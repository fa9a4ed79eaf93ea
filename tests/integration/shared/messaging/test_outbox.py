import asyncio
from datetime import UTC, datetime

from shared.db import Database
from shared.messaging.outbox import Relay
from shared.messaging.publisher import Publisher
from shared.metrics import METRICS
from shared.tasks import BackgroundTasks, repeat
from tests.broker import Vhost
from tests.integration.line import Line
from tests.waiting import eventually

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def write(database: Database, rows: int, event_type: str = "order.created") -> None:
    """As a service does in the transaction that causes the events, and then dies: the relay is not woken."""
    async with database.transaction() as connection:
        await connection.execute(
            """
            INSERT INTO outbox (type, payload, traceparent)
            SELECT $1, json_build_object('number', number), $3 FROM generate_series(1, $2::int) AS number
            """,
            event_type,
            rows,
            TRACEPARENT,
        )


async def left(database: Database) -> int:
    """Rows that anybody can see: those that a relay has claimed but not yet deleted for good are among them."""
    async with database.connection() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM outbox"))


async def test_what_a_crash_left_between_commit_and_publish_is_published(
    products_database: Database, publisher: Publisher, vhost: Vhost, tasks: BackgroundTasks
) -> None:
    await write(products_database, rows=1)
    before = datetime.now(UTC)

    tasks.start("relay", Relay(products_database, publisher, "/products").run())

    async def is_published() -> bool:
        return await left(products_database) == 0

    await eventually(is_published)
    [event] = await vhost.take_events("products.orders")
    assert abs((datetime.fromisoformat(event.pop("time")) - before).total_seconds()) < 10
    assert event == {
        "specversion": "1.0",
        "id": "1",
        "source": "/products",
        "type": "order.created",
        "traceparent": TRACEPARENT,
        "data": {"number": 1},
    }


async def test_rows_are_found_without_a_wake_up(
    products_database: Database, publisher: Publisher, tasks: BackgroundTasks
) -> None:
    relay = Relay(products_database, publisher, "/products")
    tasks.start("relay", relay.run())
    for _ in range(2):
        await write(products_database, rows=1)

        async def is_published() -> bool:
            return await left(products_database) == 0

        await eventually(is_published, within=5)


async def test_rows_wait_for_the_broker(
    products_database: Database, publisher: Publisher, vhost: Vhost, broker_line: Line, tasks: BackgroundTasks
) -> None:
    relay = Relay(products_database, publisher, "/products")
    tasks.start("relay", relay.run())
    broker_line.cut()
    await eventually(lambda: not publisher.connected)

    await write(products_database, rows=3)
    relay.wake()
    await relay.flush(limit=2)
    assert await left(products_database) == 3
    broker_line.restore()

    async def is_published() -> bool:
        return await left(products_database) == 0

    await eventually(is_published)
    assert [event["id"] for event in await vhost.take_events("products.orders")] == ["1", "2", "3"]


async def test_a_row_is_there_until_the_broker_has_confirmed_it(
    products_database: Database, publisher: Publisher, vhost: Vhost, broker_line: Line
) -> None:
    await write(products_database, rows=1)
    relay = Relay(products_database, publisher, "/products")
    broker_line.hold_answers()
    flush = asyncio.create_task(relay.flush(limit=10))

    async def has_arrived() -> bool:
        return await vhost.depth("products.orders") == 1

    await eventually(has_arrived)
    assert await left(products_database) == 1
    broker_line.cut()
    await flush
    assert await left(products_database) == 1

    broker_line.restore()
    await eventually(lambda: publisher.connected)
    await relay.flush(limit=5)
    assert await left(products_database) == 0
    assert [event["id"] for event in await vhost.take_events("products.orders")] == ["1", "1"]


async def test_the_relay_goes_on_after_a_broker_that_missed_its_heartbeats(
    products_database: Database, vhost: Vhost, broker_line: Line, tasks: BackgroundTasks
) -> None:
    """It is frozen, say, for half a minute with the heartbeat of 10 s."""
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

    async def is_published() -> bool:
        return await left(products_database) == 0

    await eventually(is_published)
    assert tasks.failed == set()


async def test_a_flush_waits_for_the_round_that_is_under_way(
    products_database: Database, publisher: Publisher, vhost: Vhost, broker_line: Line, tasks: BackgroundTasks
) -> None:
    relay = Relay(products_database, publisher, "/products")
    tasks.start("relay", relay.run())
    broker_line.hold_answers()
    await write(products_database, rows=1)
    relay.wake()

    async def has_arrived() -> bool:
        return await vhost.depth("products.orders") == 1

    await eventually(has_arrived)
    flush = asyncio.create_task(relay.flush(limit=4))
    ended, _ = await asyncio.wait({flush}, timeout=0.2)
    broker_line.restore()
    await flush

    assert not ended
    assert await left(products_database) == 0


async def test_an_unroutable_row_stays(products_database: Database, publisher: Publisher) -> None:
    await write(products_database, rows=1, event_type="nobody.listens")

    await Relay(products_database, publisher, "/products").flush(limit=5)

    assert await left(products_database) == 1


async def test_events_are_published_in_the_order_of_their_rows(
    products_database: Database, publisher: Publisher, vhost: Vhost
) -> None:
    for event_type in ("order.created", "order.cancelled", "order.created"):
        await write(products_database, rows=900, event_type=event_type)

    await Relay(products_database, publisher, "/products").flush(limit=20)

    ids = [int(event["id"]) for event in await vhost.take_events("products.orders")]
    assert ids == list(range(1, 2701))


async def test_a_message_carries_up_to_256_events_of_one_type(
    products_database: Database, publisher: Publisher, vhost: Vhost
) -> None:
    await write(products_database, rows=300)
    await write(products_database, rows=1, event_type="order.updated")

    await Relay(products_database, publisher, "/products").flush(limit=5)

    assert [len(message.body) > 10_000 for message in await vhost.take("products.orders")] == [True, False]
    assert len(await vhost.take_events("orders.stock")) == 1


async def test_two_relays_publish_each_row_once_while_nothing_fails(
    products_database: Database, publisher: Publisher, vhost: Vhost
) -> None:
    for _ in range(5):
        await write(products_database, rows=1000)
    relays = [Relay(products_database, publisher, "/products") for _ in range(2)]

    await asyncio.gather(*(relay.flush(limit=20) for relay in relays))

    ids = sorted(int(event["id"]) for event in await vhost.take_events("products.orders"))
    assert ids == list(range(1, 5001))


async def test_it_is_not_full_by_the_span_of_its_ids_alone(
    products_database: Database, publisher: Publisher, tasks: BackgroundTasks
) -> None:
    relay = Relay(products_database, publisher, "/products")
    async with products_database.connection() as connection:
        for row_id in (1, 5_000_000):
            await connection.execute(
                "INSERT INTO outbox (id, type, payload) OVERRIDING SYSTEM VALUE VALUES ($1, 'test', '{}')", row_id
            )

    tasks.start("watch", repeat("watch", 0.1, relay.measure))

    await eventually(lambda: b"outbox_rows 2.0\n" in METRICS.exposition())
    assert b"outbox_oldest_seconds 0.0\n" not in METRICS.exposition()
    assert not relay.full
