"""Each kind of fault bites, and the system is as before when it is healed."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiormq
import pytest
from redis.asyncio import Redis

from shared.messaging import topology
from tests.api import Answer, Api, connect
from tests.databases import fetch
from tests.waiting import eventually
from tools.faults.injection import LAG_SECONDS, heal, inject
from tools.faults.plan import Fault, Kind
from tools.faults.system import System, new_folder
from tools.stack.ports import LOOPBACK
from tools.stack.services import SOURCE

HOUR = 3600


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[System]:
    async with System(new_folder(), print) as system:
        await system.begin(SOURCE, stuck_order_seconds=600)
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


@asynccontextmanager
async def broken(system: System, kind: Kind, target: str, size: float = 0.0) -> AsyncIterator[None]:
    fault = Fault(at=0, seconds=0, kind=kind, target=target, size=size)
    await inject(system, fault)
    try:
        yield
    finally:
        await heal(system, fault)


async def order(api: Api, product_id: int) -> Answer:
    return await api.post("/orders", {"productId": product_id, "quantity": 1})


async def status(api: Api, placed: Answer, wait: int) -> str:
    """Of an order that was placed, within so many seconds."""
    answer = await api.get(f"/orders/{placed.data['id']}?wait={wait}")
    return str(answer.data["status"])


@pytest.mark.parametrize(
    ("kind", "target", "lacking"),
    [
        (Kind.KILL, "orders-1", {"orders-1": "does not answer"}),
        (Kind.TERMINATE, "products-2", {"products-2": "does not answer"}),
        (Kind.TERMINATE, "products-redis", {"products-1": "cache down", "products-2": "cache down"}),
        (Kind.FREEZE, "orders-redis", {"orders-1": "cache down", "orders-2": "cache down"}),
        (Kind.FREEZE, "products-db", {"products-1": "database down", "products-2": "database down"}),
        (Kind.KILL, "rabbitmq", {"orders-1": "broker down", "products-2": "broker down"}),
        (Kind.CUT, "orders-1>rabbitmq", {"orders-1": "broker down"}),
        (Kind.STALL, "products-1>products-db", {"products-1": "database down"}),
        (Kind.MUTE, "orders-2>orders-redis", {"orders-2": "cache down"}),
    ],
)
async def test_those_who_need_a_broken_part_say_so_until_it_is_healed(
    system: System, kind: Kind, target: str, lacking: dict[str, str]
) -> None:
    async def is_seen() -> bool:
        return lacking.items() <= (await system.unready()).items()

    async with broken(system, kind, target):
        await eventually(is_seen)
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


async def test_a_read_only_database_stays_so_when_it_is_killed(system: System) -> None:
    async with broken(system, Kind.READ_ONLY, "products-db"):
        async with broken(system, Kind.KILL, "products-db"):
            pass
        refuses = await fetch(system.database_url("products-db"), "SHOW default_transaction_read_only")
    accepts = await fetch(system.database_url("products-db"), "SHOW default_transaction_read_only")
    assert [refuses, accepts] == [[("on",)], [("off",)]]


async def test_a_killed_database_has_what_was_committed(system: System) -> None:
    url = system.database_url("orders-db")
    await fetch(url, "CREATE TABLE committed AS SELECT 1 AS number")
    async with broken(system, Kind.KILL, "orders-db"):
        pass
    assert await fetch(url, "SELECT number FROM committed") == [(1,)]
    await fetch(url, "DROP TABLE committed")


async def test_under_a_memory_alarm_orders_wait(system: System, api: Api, product_id: int) -> None:
    before = await order(api, product_id)
    assert await status(api, before, wait=20) == "done"
    async with broken(system, Kind.ALARM, "rabbitmq"):
        placed = await order(api, product_id)
        during = await status(api, placed, wait=1)
    after = await status(api, placed, wait=20)
    assert [during, after] == ["pending", "done"]


async def test_a_deleted_queue_is_consumed_again(system: System, api: Api, product_id: int) -> None:
    queue = topology.PRODUCTS_ORDERS.name
    connection = await aiormq.connect(system.amqp_url)
    channel = await connection.channel(on_return_raises=True)
    await channel.queue_bind(queue, topology.EXCHANGE, "probe")  # which goes with the queue

    async def both_consume() -> bool:
        try:
            channel = await connection.channel()
            return (await channel.queue_declare(queue, passive=True)).consumer_count == 2
        except aiormq.exceptions.ChannelNotFoundEntity:
            return False

    async with broken(system, Kind.DELETE_QUEUE, queue):
        await eventually(both_consume, within=20)
    with pytest.raises(aiormq.exceptions.PublishError):
        await channel.basic_publish(b"", exchange=topology.EXCHANGE, routing_key="probe", mandatory=True)
    await connection.close()
    placed = await order(api, product_id)
    assert await status(api, placed, wait=20) == "done"


async def test_the_clock_of_a_database_jumps_and_jumps_back(system: System) -> None:
    assert system.can_jump

    async def offset() -> float:
        [(now,)] = await fetch(system.database_url("orders-db"), "SELECT extract(epoch FROM now())::float8")
        return float(now) - time.time()

    async def is_ahead() -> bool:
        return abs(await offset() - HOUR) < 30

    async def is_true() -> bool:
        return abs(await offset()) < 30

    async with broken(system, Kind.CLOCK, "orders-db", HOUR):
        await eventually(is_ahead)
    await eventually(is_true)


async def test_the_clock_of_a_redis_jumps_and_jumps_back(system: System) -> None:
    async with Redis.from_url(system.redis_url("orders-redis")) as redis:
        await redis.set("before", "1", ex=60)
        async with broken(system, Kind.CLOCK, "orders-redis", -HOUR):
            behind = await redis.ttl("before")
        back = await redis.ttl("before")
        async with broken(system, Kind.CLOCK, "orders-redis", HOUR):
            gone = await redis.get("before") is None
    assert (round(behind, -2), round(back, -1), gone) == (HOUR + 100, 60, True)


async def test_a_link_is_reset_again_and_again(system: System) -> None:
    port = system.links["gateway>orders-1"].port
    async with broken(system, Kind.RESET, "gateway>orders-1"):
        for _ in range(2):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            with pytest.raises(ConnectionResetError):
                async with asyncio.timeout(5):
                    await reader.read()
            writer.close()
    assert not system.resets


async def test_a_link_lags_both_ways(system: System) -> None:
    async with connect(f"http://{LOOPBACK}:{system.links['gateway>orders-1'].port}") as api:
        await api.get("/health/live")
        async with broken(system, Kind.LAG, "gateway>orders-1"):
            began = time.monotonic()
            await api.get("/health/live")
            took = time.monotonic() - began
    assert took >= 2 * LAG_SECONDS


async def test_a_service_that_ends_by_itself_is_complained_of_and_stays_down(system: System) -> None:
    system.services["orders-2"].daemon.send(signal.SIGKILL)
    await system.services["orders-2"].daemon.ended(5)
    unready = await system.unready()
    complaints = list(system.complaints)
    system.complaints.clear()
    await system.parts["orders-2"].start()
    assert unready["orders-2"] == "does not answer"
    assert complaints == ["orders-2 ended by itself with status -9"]


async def test_a_round_begins_with_nothing_from_before_and_code_of_its_own(
    system: System, api: Api, product_id: int, tmp_path: Path
) -> None:
    async def is_cached() -> bool:
        """What an order makes so, unless the event of the new product comes between."""
        await order(api, product_id)
        async with Redis.from_url(system.redis_url("orders-redis")) as redis:
            return bool(await redis.exists(f"product:{product_id}"))

    async def is_accepted() -> bool:
        """From the cache, which may be too slow once on a busy machine; its event then waits in the queue."""
        return (await order(api, product_id)).status == 201

    assert await status(api, await order(api, product_id), wait=20) == "done"
    await eventually(is_cached)
    for name in ("products-1", "products-2"):
        await system.parts[name].kill()
    await eventually(is_accepted)
    source = tmp_path / "source"
    source.symlink_to(SOURCE)
    await system.begin(source, stuck_order_seconds=5)
    lists = [(await api.get(path)).data for path in ("/products", "/orders")]
    product = await api.post("/products", {"name": "Lamp", "price": "1.00", "qty": 1})
    placed = await order(api, product.data["id"])
    assert await status(api, placed, wait=20) == "done"
    reservations = await fetch(system.database_url("products-db"), "SELECT order_id FROM reservations")
    assert [*lists, reservations] == [[], [], [(placed.data["id"],)]]
    assert {f"PYTHONPATH={source}", "STUCK_ORDER_SECONDS=5"} <= environment(system, "orders-1")
    assert system.complaints == []


def environment(system: System, name: str) -> set[str]:
    return set(Path(f"/proc/{system.services[name].daemon.pid}/environ").read_text().split("\0"))
