"""The kinds of faults bite and are healed, and what a round leaves behind is found.

Those that a mutation has bite there (tests/e2e/test_missing_guards.py): it is not noticed without its fault.
"""

import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager

import aiormq
import pytest
from redis.asyncio import Redis

from shared.messaging import topology
from tests.api import Answer, Api, connect
from tests.databases import fetch
from tests.waiting import eventually
from tools.faults import injection, state
from tools.faults.evidence import Breach
from tools.faults.plan import Fault, Kind, Plan
from tools.faults.record import Record
from tools.faults.system import System
from tools.faults.verdict import judge

HOUR = 3600


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[System]:
    async with System() as system:
        await system.begin(stuck_order_seconds=600)
        yield system


@pytest.fixture
async def system(running: System) -> System:
    """Wholly ready, whatever the test before did."""
    await ready(running)
    return running


@pytest.fixture
async def api(system: System) -> AsyncIterator[Api]:
    async with connect(system.url) as api:
        yield api


@pytest.fixture
async def product_id(api: Api) -> int:
    product = await api.post("/products", {"name": "Lamp", "price": "1.00", "qty": 1000})
    return int(product.data["id"])


async def ready(system: System) -> None:
    async def is_ready() -> bool:
        return await system.unready() == {}

    await eventually(is_ready, within=30)


def broken(system: System, kind: Kind, target: str, size: float = 0.0) -> AbstractAsyncContextManager[None]:
    return injection.broken(system, Fault(at=0, seconds=0, kind=kind, target=target, size=size))


async def order(api: Api, product_id: int) -> Answer:
    return await api.post("/orders", {"productId": product_id, "quantity": 1})


async def status(api: Api, placed: Answer, wait: int) -> str:
    """The status of an order within so many seconds."""
    answer = await api.get(f"/orders/{placed.data['id']}?wait={wait}")
    return str(answer.data["status"])


@pytest.mark.parametrize(
    ("kind", "target", "lacking"),
    [
        (Kind.TERMINATE, "products-2", {"products-2": "does not answer"}),
        (Kind.KILL, "rabbitmq", {"orders-1": "broker down", "products-2": "broker down"}),
        (Kind.CUT, "orders-1>rabbitmq", {"orders-1": "broker down"}),
        (Kind.RESET, "products-1>products-db", {"products-1": "database down, schema down"}),
        (Kind.MUTE, "orders-2>orders-redis", {"orders-2": "cache down"}),
        (Kind.LAG, "orders-2>orders-redis", {"orders-2": "cache down"}),
    ],
)
async def test_services_that_need_a_broken_part_say_so_until_it_is_healed(
    system: System, kind: Kind, target: str, lacking: Mapping[str, str]
) -> None:
    async def is_seen() -> bool:
        return lacking.items() <= (await system.unready()).items()

    async with broken(system, kind, target):
        await eventually(is_seen, within=20)
    await ready(system)
    assert system.complaints == []


@pytest.mark.parametrize("kind", [Kind.READ_ONLY, Kind.DISK_FULL])
async def test_a_database_that_refuses_writes_refuses_orders(
    system: System, api: Api, product_id: int, kind: Kind
) -> None:
    async def is_accepted() -> bool:
        return (await order(api, product_id)).status == 201

    async def is_refused() -> bool:
        return (await order(api, product_id)).status == 503

    async with broken(system, kind, "orders-db"):
        await eventually(is_refused)
    await eventually(is_accepted)


async def test_under_a_memory_alarm_orders_wait(system: System, api: Api, product_id: int) -> None:
    assert await status(api, await order(api, product_id), wait=20) == "done"
    async with broken(system, Kind.ALARM, "rabbitmq"):
        placed = await order(api, product_id)
        during = await status(api, placed, wait=1)
    after = await status(api, placed, wait=20)
    assert [during, after] == ["pending", "done"]


async def test_a_deleted_queue_is_consumed_again(system: System, api: Api, product_id: int) -> None:
    queue = topology.PRODUCTS_ORDERS.name
    connection = await aiormq.connect(system.rabbitmq.url)

    async def both_consume() -> bool:
        try:
            channel = await connection.channel()
            return (await channel.queue_declare(queue, passive=True)).consumer_count == 2
        except aiormq.exceptions.ChannelNotFoundEntity:
            return False

    async def is_bound_to_a_probe() -> bool:
        """The binding goes with the queue."""
        channel = await connection.channel(on_return_raises=True)
        try:
            await channel.basic_publish(b"", exchange=topology.EXCHANGE, routing_key="probe", mandatory=True)
        except aiormq.exceptions.PublishError:
            return False
        return True

    await (await connection.channel()).queue_bind(queue, topology.EXCHANGE, "probe")
    async with broken(system, Kind.DELETE_QUEUE, queue):
        await eventually(both_consume, within=20)
    assert not await is_bound_to_a_probe()
    await connection.close()
    assert await status(api, await order(api, product_id), wait=20) == "done"


async def test_the_clock_of_a_database_jumps_and_jumps_back(system: System) -> None:
    assert system.can_jump

    async def offset() -> float:
        [(now,)] = await fetch(system.databases["orders-db"].url, "SELECT extract(epoch FROM now())::float8")
        return float(now) - time.time()

    async def is_ahead() -> bool:
        return abs(await offset() - HOUR) < 30

    async def is_true() -> bool:
        return abs(await offset()) < 30

    async with broken(system, Kind.CLOCK, "orders-db", HOUR):
        await eventually(is_ahead)
    await eventually(is_true)


async def test_the_clock_of_a_redis_jumps_and_jumps_back(system: System) -> None:
    async with Redis.from_url(system.redises["orders-redis"].url) as redis:
        await redis.set("before", "1", ex=60)
        async with broken(system, Kind.CLOCK, "orders-redis", -HOUR):
            behind = await redis.ttl("before")
        back = await redis.ttl("before")
        async with broken(system, Kind.CLOCK, "orders-redis", HOUR):
            gone = await redis.get("before") is None
    assert (round(behind, -2), round(back, -1), gone) == (HOUR + 100, 60, True)


async def test_a_service_that_ends_by_itself_is_complained_of_and_stays_down(system: System) -> None:
    replica = system.services["orders-2"]
    replica.daemon.send(signal.SIGKILL)
    await replica.daemon.ended(5)
    unready = await system.unready()
    complaints = list(system.complaints)
    system.complaints.clear()
    await replica.start()
    assert unready["orders-2"] == "does not answer"
    assert complaints == ["orders-2 ended by itself with status -9"]


async def test_a_service_that_does_not_end_in_time_is_complained_of(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.faults.replica.END_SECONDS", 0.0)
    await system.services["orders-2"].stop()
    complaints = list(system.complaints)
    system.complaints.clear()
    await system.services["orders-2"].start()
    assert complaints == ["orders-2 ended with status -9 after SIGTERM"]


async def test_a_round_begins_with_nothing_from_before_and_what_it_leaves_is_found(
    system: System, api: Api, product_id: int
) -> None:
    """Reads a clean system first, then one with something wrong in every place that the verdict looks at."""
    assert await status(api, await order(api, product_id), wait=20) == "done"
    await system.begin(stuck_order_seconds=600)
    record = Record(Plan(1, 1.0, (), (), ()))

    async def is_settled() -> bool:
        return await state.settled(system.access)

    await eventually(is_settled, within=20)
    clean = await state.read(system.access)
    assert (clean.orders, clean.products) == ({}, {})
    assert judge(record, clean) == []

    await api.post("/products", {"name": "Lamp", "price": "1.00", "qty": 5})
    await fetch(system.databases["products-db"].url, "UPDATE products SET qty = 4")
    await fetch(system.databases["orders-db"].url, "INSERT INTO outbox (type, payload) VALUES ('no.such', '{}')")
    connection = await aiormq.connect(system.rabbitmq.url)
    await (await connection.channel()).basic_publish(b"[]", exchange="", routing_key=topology.ORDERS_STOCK.dead)
    await connection.close()
    async with Redis.from_url(system.redises["products-redis"].url) as redis:
        await redis.set("product:99", "{}")  # which never expires

    async def are_found() -> bool:
        found = {difference.kind for difference in judge(record, await state.read(system.access))}
        return found >= {Breach.ROWS, Breach.OUTBOX, Breach.DEAD_LETTER, Breach.CACHE}

    await eventually(are_found, within=20)
    assert not await state.settled(system.access)
    assert system.complaints == []
