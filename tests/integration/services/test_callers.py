"""SERVICE_SECRET: a service answers those that know it, and nobody else."""

from dataclasses import replace

import pytest
from aiohttp import web
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.routes import ROUTES
from orders.app import create_app as create_orders
from orders.settings import Settings as OrdersSettings
from products.app import create_app as create_products
from products.settings import Settings as ProductsSettings
from tests.api import Api, serve
from tests.integration.conftest import running
from tests.integration.gateway.opening import opened
from tests.integration.upstream import FakeService

OLD, NEW, WRONG = "old-secret-of-the-shop", "new-secret-of-the-shop", "old-secret-of-the-shoq"
UNSET = "SERVICE_SECRET is not set: who reaches this port may do everything, without a key"
PUBLIC = ("/health/live", "/health/ready", "/metrics")
ORDER = {"productId": 7, "quantity": 1}


@pytest.fixture(params=["orders", "products"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make(name: str, orders_settings: OrdersSettings, products_settings: ProductsSettings) -> "Make":
    return Make(name, orders_settings, products_settings)


class Make:
    """Makes a service with these secrets."""

    def __init__(self, name: str, orders: OrdersSettings, products: ProductsSettings) -> None:
        self._name, self._orders, self._products = name, orders, products

    def __call__(self, *secrets: str) -> web.Application:
        if self._name == "orders":
            return create_orders(replace(self._orders, service_secret=secrets))
        return create_products(replace(self._products, service_secret=secrets))


def known_by(secret: str) -> dict[str, str]:
    return {"X-Service-Secret": secret}


async def statuses(api: Api, name: str, headers: dict[str, str]) -> set[int]:
    """Of every route of the service, and of a path that it does not have."""
    lines = {f"{route.method} {route.path}" for route in ROUTES if route.upstream == name and not route.streamed}
    lines |= {"GET /nothing", "DELETE /orders/1"}
    asked = [line.replace("{id}", "1").replace("{productId}", "1").split() for line in lines]
    return {(await api.request(method, path, headers=headers)).status for method, path in asked}


@pytest.mark.usefixtures("redis", "orders_redis")
async def test_a_service_with_secrets_answers_who_sends_one_and_nobody_else(name: str, make: Make) -> None:
    strangers: list[dict[str, str]] = [{}, *map(known_by, (WRONG, "", f"{OLD},{NEW}", OLD[:-1], "schlüssel"))]
    with capture_logs() as lines:
        async with running(make(NEW, OLD)) as api:
            refused = [await statuses(api, name, headers) for headers in strangers]
            answered = [await statuses(api, name, known_by(secret)) for secret in (NEW, OLD)]
            public = [(await api.get(path)).status for path in PUBLIC]
            answer = await api.post(f"/{name}", ORDER, headers=known_by(WRONG) | {"X-Request-ID": "a-stranger"})

    assert refused == [{401}] * len(strangers)
    assert all(found and not found & {401, 500} for found in answered)
    assert public == [200, 200, 200]
    assert (answer.status, answer.code, answer.is_envelope) == (401, "unauthorized", True)
    assert answer.headers["WWW-Authenticate"].startswith("Service-Secret")
    assert answer.headers["X-Request-ID"] == "a-stranger"
    assert UNSET not in [line["event"] for line in lines]
    assert [secret for secret in (OLD, NEW) if secret in f"{lines} {answer}"] == []


@pytest.mark.usefixtures("redis", "orders_redis")
async def test_a_service_without_a_secret_answers_everybody_and_says_so_once(name: str, make: Make) -> None:
    with capture_logs() as lines:
        async with running(make()) as api:
            assert 401 not in await statuses(api, name, {})

    assert [line["log_level"] for line in lines if line["event"] == UNSET] == ["warning"]


async def test_the_order_service_sends_the_first_secret(
    orders_settings: OrdersSettings, product_service: FakeService, orders_redis: Redis
) -> None:
    async with running(create_orders(replace(orders_settings, service_secret=(NEW, OLD)))) as api:
        placed = await api.post("/orders", ORDER, headers=known_by(OLD))

    assert placed.status == 201
    assert [request.headers.getall("X-Service-Secret") for request in product_service.seen] == [[NEW]]  # type: ignore[attr-defined]  # a multidict


@pytest.mark.usefixtures("redis", "orders_redis")
async def test_while_the_secret_is_exchanged_every_order_gets_through(
    orders_settings: OrdersSettings, products_settings: ProductsSettings
) -> None:
    """Each process knows both by the time at which another one sends the new one."""
    products = create_products(replace(products_settings, service_secret=(OLD, NEW)))
    async with serve(products) as products_url:
        orders = create_orders(
            replace(orders_settings, products_url=products_url, service_secret=(NEW, OLD), stuck_order_seconds=1.0)
        )
        async with serve(orders) as orders_url, opened(orders_url, products_url, SERVICE_SECRET=OLD) as gateway:
            product = await gateway.post("/products", {"name": "Lamp", "price": "1", "qty": 5})
            order = {"productId": product.data["id"], "quantity": 2}
            placed = await gateway.post("/orders", order, headers=known_by(WRONG))
            decided = await gateway.get(f"/orders/{placed.data['id']}?wait=10")

    assert (product.status, placed.status, decided.data["status"]) == (201, 201, "done")
