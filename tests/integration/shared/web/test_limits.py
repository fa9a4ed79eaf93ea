"""What the services do for a request at most, seen on their own applications with a database that is held up."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import asyncpg
import pytest

from orders.app import create_app as create_orders
from orders.settings import Settings as OrdersSettings
from products.app import create_app as create_products
from products.settings import Settings as ProductsSettings
from shared import db
from tests.api import Answer, Api, connect, serve
from tests.broker import Vhost
from tests.databases import fetch
from tests.integration.conftest import is_up
from tests.integration.gateway.behaviour import Gate
from tests.integration.upstream import FakeService, envelope, hang, respond_with
from tests.waiting import eventually
from tools.stack.servers import Servers

# Less than a query may take by itself (shared.db), which would be a 503.
LITTLE = {"X-Request-Timeout-Ms": "200"}
SOON = 1.2
PRODUCT = {"name": "Lamp", "price": "1.50", "qty": 9}
ORDER = {"productId": 7, "quantity": 1}
OF_ORDER = respond_with(200, envelope(200, {"id": 7, "name": "Lamp", "price": "19.90", "qty": 9, "version": 1}))
TOO_LATE = (504, "upstream_timeout")
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@asynccontextmanager
async def locked(url: str, lock: str) -> AsyncIterator[None]:
    """Holds what the statement locks."""
    connection = await asyncpg.connect(url, timeout=5.0)
    try:
        async with connection.transaction():
            await connection.execute(lock)
            yield
    finally:
        await connection.close(timeout=5.0)


async def in_time(*requests: asyncio.Task[Answer]) -> list[tuple[int, str | None]]:
    started = time.monotonic()
    answers = await asyncio.gather(*requests)
    assert time.monotonic() - started < SOON
    return [(answer.status, answer.code) for answer in answers]


def ask(api: Api, line: str, content: object = None) -> asyncio.Task[Answer]:
    return asyncio.create_task(api.request(*line.split(), json=content, headers=LITTLE))


async def test_the_product_service_stops_when_the_time_is_over(products_api: Api, products_database_url: str) -> None:
    await products_api.post("/products", PRODUCT)
    async with locked(products_database_url, "LOCK TABLE products IN ACCESS EXCLUSIVE MODE"):
        found = await in_time(
            ask(products_api, "GET /products"),
            ask(products_api, "POST /products", PRODUCT),
            ask(products_api, "PATCH /products/1", {"name": "Chair"}),
            ask(products_api, "POST /products/1/stock", {"delta": 1, "reason": "found"}),
        )
    unchanged = await products_api.get("/products")

    assert found == [TOO_LATE] * 4
    assert [(product["name"], product["qty"]) for product in unchanged.data] == [("Lamp", 9)]


async def test_the_order_service_stops_when_the_time_is_over(
    orders_api: Api, orders_database_url: str, product_service: FakeService
) -> None:
    product_service.respond = OF_ORDER
    await orders_api.post("/orders", ORDER)
    async with locked(orders_database_url, "LOCK TABLE orders IN ACCESS EXCLUSIVE MODE"):
        found = await in_time(
            ask(orders_api, "GET /orders"),
            ask(orders_api, "GET /orders/1"),
            ask(orders_api, "POST /orders", ORDER),
            ask(orders_api, "POST /orders/1/cancel"),
        )
    order = await orders_api.get("/orders/1")

    assert found == [TOO_LATE] * 4
    assert order.data["status"] == "pending"


async def test_the_order_service_waits_for_a_product_no_longer(orders_api: Api, product_service: FakeService) -> None:
    """What it asks for goes on: others may wait for the same product, who have more time."""
    product_service.respond = hang
    found = await in_time(ask(orders_api, "POST /orders", ORDER))

    [seen] = product_service.seen
    assert found == [TOO_LATE]
    assert 1000 < int(seen.headers["X-Request-Timeout-Ms"]) <= 5000


async def test_connections_to_the_database_are_given_back(products_api: Api, products_database_url: str) -> None:
    """Twice as many requests are cut as there are connections, and those that wait for none get one."""
    await products_api.post("/products", PRODUCT)
    async with locked(products_database_url, "SELECT FROM products WHERE id = 1 FOR UPDATE"):
        many = range(2 * db._MAX_CONNECTIONS)
        changes = [ask(products_api, "PATCH /products/1", {"price": number}) for number in many]
        found = await in_time(*changes)
        answer = await products_api.get("/products/1/movements")
        [[held_up]] = await fetch(products_database_url, WAITING)
    changed = await products_api.request("PATCH", "/products/1", json={"price": "7.00"})

    assert found == [TOO_LATE] * len(many)
    assert (answer.status, held_up) == (200, 0)
    assert (changed.status, changed.data["price"]) == (200, "7.00")


@pytest.mark.parametrize("asked", ["", "soon", "-1", "1e3", "1000000"])
async def test_nonsense_is_no_limit(products_api: Api, asked: str) -> None:
    answer = await products_api.get("/products", headers={"X-Request-Timeout-Ms": asked})

    assert answer.status == 200


@asynccontextmanager
async def busy_products(url: str, servers: Servers, vhost: Vhost) -> AsyncIterator[Api]:
    """Two requests at once."""
    environment = {
        "DATABASE_URL": url,
        "REDIS_URL": servers.products_redis.url,
        "AMQP_URL": vhost.url,
        "MAX_IN_FLIGHT": "2",
    }
    async with serve(create_products(ProductsSettings.load(environment))) as address, connect(address) as api:
        await eventually(lambda: is_up(api))
        yield api


async def test_a_service_that_has_all_it_can_do_refuses_more(
    products_database_url: str, servers: Servers, vhost: Vhost
) -> None:
    async with busy_products(products_database_url, servers, vhost) as api:
        async with locked(products_database_url, "LOCK TABLE products IN ACCESS EXCLUSIVE MODE"):
            held = [asyncio.create_task(api.get("/products")) for _ in range(2)]

            async def both_wait() -> bool:
                return await fetch(products_database_url, WAITING) == [(2,)]

            await eventually(both_wait)
            refused = [await api.get("/products"), await api.post("/products", PRODUCT)]
            others = [(await api.get(path)).status for path in ("/health/live", "/health/ready", "/metrics")]
        answers = await asyncio.gather(*held)
        afterwards = await api.get("/products")

    assert [(answer.status, answer.code, answer.headers["Retry-After"]) for answer in refused] == [
        (503, "unavailable", "1")
    ] * 2
    assert others == [200] * 3
    assert [answer.status for answer in (*answers, afterwards)] == [200] * 3


async def test_so_does_the_order_service(orders_settings: OrdersSettings, product_service: FakeService) -> None:
    gate = Gate(OF_ORDER)
    product_service.respond = gate.respond
    app = create_orders(replace(orders_settings, most_in_flight=1))
    async with serve(app) as url, connect(url) as api:
        await eventually(lambda: is_up(api))
        held = asyncio.create_task(api.post("/orders", ORDER))
        await eventually(lambda: gate.waiting)
        refused = await api.get("/orders")
        others = [(await api.get(path)).status for path in ("/health/live", "/metrics")]
        gate.open()
        placed = await held
        afterwards = await api.get("/orders")

    assert (refused.status, refused.code, refused.headers["Retry-After"]) == (503, "unavailable", "1")
    assert (others, placed.status, afterwards.status) == ([200] * 2, 201, 200)
