"""What the services do for a request at most, seen on their own applications with a database that is held up."""

import asyncio
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
from tests.api import Api, connect, serve
from tests.databases import fetch
from tests.integration.conftest import is_up
from tests.integration.upstream import FakeService, envelope, hang, respond_with
from tests.waiting import eventually

# Less than a query may take by itself (shared.db), which would be a 503.
LITTLE = {"X-Request-Timeout-Ms": "200"}
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


async def ask(api: Api, *requests: tuple[str, object]) -> list[tuple[int, str | None]]:
    """Status and code of each request, all asked at once with little time."""
    answers = await asyncio.gather(
        *(api.request(*line.split(), json=content, headers=LITTLE) for line, content in requests)
    )
    return [(answer.status, answer.code) for answer in answers]


async def test_the_product_service_stops_when_the_time_is_over(products_api: Api, products_database_url: str) -> None:
    await products_api.post("/products", PRODUCT)
    async with locked(products_database_url, "LOCK TABLE products IN ACCESS EXCLUSIVE MODE"):
        found = await ask(
            products_api,
            ("GET /products", None),
            ("POST /products", PRODUCT),
            ("PATCH /products/1", {"name": "Chair"}),
            ("POST /products/1/stock", {"delta": 1, "reason": "found"}),
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
        found = await ask(
            orders_api,
            *(
                ("GET /orders", None),
                ("GET /orders/1", None),
                ("POST /orders", ORDER),
                ("POST /orders/1/cancel", None),
            ),
        )
    order = await orders_api.get("/orders/1")

    assert found == [TOO_LATE] * 4
    assert order.data["status"] == "pending"


async def test_the_order_service_stops_waiting_for_a_product(orders_api: Api, product_service: FakeService) -> None:
    """Its request to the product service goes on: others, who have more time, may wait for the same product."""
    product_service.respond = hang
    found = await ask(orders_api, ("POST /orders", ORDER))

    [seen] = product_service.seen
    assert found == [TOO_LATE]
    assert 1000 < int(seen.headers["X-Request-Timeout-Ms"]) <= 5000


async def test_connections_to_the_database_are_given_back(products_api: Api, products_database_url: str) -> None:
    """Twice as many requests are cut as there are connections, and those that wait for one get none."""
    await products_api.post("/products", PRODUCT)
    async with locked(products_database_url, "SELECT FROM products WHERE id = 1 FOR UPDATE"):
        changes = [("PATCH /products/1", {"price": number}) for number in range(2 * db._MAX_CONNECTIONS)]
        found = await ask(products_api, *changes)
        answer = await products_api.get("/products/1/movements")
        [[held_up]] = await fetch(products_database_url, WAITING)
    changed = await products_api.request("PATCH", "/products/1", json={"price": "7.00"})

    assert found == [TOO_LATE] * len(changes)
    assert (answer.status, held_up) == (200, 0)
    assert (changed.status, changed.data["price"]) == (200, "7.00")


@pytest.mark.parametrize("service", ["products", "orders"])
async def test_an_overloaded_service_refuses_more_and_still_shows_its_health(
    service: str, products_database_url: str, orders_settings: OrdersSettings
) -> None:
    if service == "products":
        url = products_database_url
        servers = {"REDIS_URL": orders_settings.redis_url, "AMQP_URL": orders_settings.amqp_url}
        settings = ProductsSettings.load({"DATABASE_URL": url, "MAX_IN_FLIGHT": "2", **servers})
        app = create_products(settings)
    else:
        url = orders_settings.database_url
        app = create_orders(replace(orders_settings, most_in_flight=2))
    async with serve(app) as address, connect(address) as api:
        await eventually(lambda: is_up(api))
        async with locked(url, f"LOCK TABLE {service} IN ACCESS EXCLUSIVE MODE"):
            held = [asyncio.create_task(api.get(f"/{service}")) for _ in range(2)]

            async def both_wait() -> bool:
                return await fetch(url, WAITING) == [(2,)]

            await eventually(both_wait)
            refused = await api.get(f"/{service}")
            others = [(await api.get(path)).status for path in ("/health/live", "/health/ready", "/metrics")]
        answers = await asyncio.gather(*held)
        afterwards = await api.get(f"/{service}")

    assert (refused.status, refused.code, refused.headers["Retry-After"]) == (503, "unavailable", "1")
    assert others == [200] * 3
    assert [answer.status for answer in (*answers, afterwards)] == [200] * 3
