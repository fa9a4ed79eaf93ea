"""The shared library on real servers, and each service in this process, on a port and data of its own."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import structlog
from aiohttp import web
from redis.asyncio import Redis

from orders.app import create_app as create_orders
from orders.settings import Settings as OrdersSettings
from products.app import create_app as create_products
from products.settings import Settings as ProductsSettings
from shared.cache import Cache, open_cache
from shared.db import Database, open_database
from shared.messaging.publisher import Publisher
from shared.tasks import BackgroundTasks
from tests.api import Api, connect, serve
from tests.broker import Vhost
from tests.integration.line import Line, line_to
from tests.integration.upstream import FakeService, fake_service
from tests.waiting import eventually
from tools.stack.servers import Servers


@pytest.fixture(scope="session", autouse=True)
def short_log_lines() -> Iterator[None]:
    """By default structlog draws tracebacks with all local variables, which takes longer than many a test."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=False),
        ]
    )
    yield
    structlog.reset_defaults()


@pytest.fixture
async def tasks() -> AsyncIterator[BackgroundTasks]:
    async with BackgroundTasks() as tasks:
        yield tasks


@pytest.fixture
async def broker_line(servers: Servers) -> AsyncIterator[Line]:
    async with line_to(servers.rabbitmq.port) as line:
        yield line


@pytest.fixture
async def redis_line(servers: Servers) -> AsyncIterator[Line]:
    """To products-redis."""
    async with line_to(servers.products_redis.port) as line:
        yield line


@pytest.fixture
async def redis(servers: Servers) -> AsyncIterator[Redis]:
    """products-redis past the code under test, empty."""
    async with Redis.from_url(servers.products_redis.url) as redis:
        await redis.flushdb()
        yield redis


@pytest.fixture
async def orders_redis(servers: Servers) -> AsyncIterator[Redis]:
    """orders-redis past the code under test, empty."""
    async with Redis.from_url(servers.orders_redis.url) as redis:
        await redis.flushdb()
        yield redis


@pytest.fixture
def busy_machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine that is busy for longer than the 50 ms of a round trip is no outage of Redis; `undo` is for one."""
    monkeypatch.setattr("shared.cache._LIMIT", 2.0)
    return monkeypatch


@pytest.fixture
async def cache(redis: Redis, redis_line: Line, tasks: BackgroundTasks) -> AsyncIterator[Cache]:
    """Reaches `redis` over `redis_line`."""
    async with open_cache(f"redis://127.0.0.1:{redis_line.port}/0", tasks) as cache:
        yield cache


@pytest.fixture
async def products_database(products_database_url: str) -> AsyncIterator[Database]:
    async with open_database(products_database_url, "test") as database:
        yield database


@pytest.fixture
async def publisher(vhost: Vhost, broker_line: Line, tasks: BackgroundTasks) -> Publisher:
    """Connected to `vhost` over `broker_line`, where it has declared the topology."""
    publisher = Publisher(f"amqp://guest:guest@127.0.0.1:{broker_line.port}/{vhost.name}", "test")
    tasks.start("publisher", publisher.run())
    await eventually(lambda: publisher.connected)
    return publisher


@pytest.fixture
def products_settings(
    products_database_url: str, redis_line: Line, vhost: Vhost, broker_line: Line
) -> ProductsSettings:
    """With lines to its Redis and to the broker."""
    return ProductsSettings.load(
        {
            "DATABASE_URL": products_database_url,
            "REDIS_URL": f"redis://127.0.0.1:{redis_line.port}/0",
            "AMQP_URL": f"amqp://guest:guest@127.0.0.1:{broker_line.port}/{vhost.name}",
        }
    )


@pytest.fixture
async def products_api(products_settings: ProductsSettings, redis: Redis) -> AsyncIterator[Api]:
    """The product service, whole."""
    async with running(create_products(products_settings)) as api:
        yield api


@pytest.fixture
async def product_service() -> AsyncIterator[FakeService]:
    """What the order service asks for products."""
    async with fake_service() as fake:
        yield fake


@pytest.fixture
def orders_settings(
    servers: Servers, orders_database_url: str, vhost: Vhost, broker_line: Line, product_service: FakeService
) -> OrdersSettings:
    """With a line to the broker and a product service of the test's choice."""
    return OrdersSettings.load(
        {
            "DATABASE_URL": orders_database_url,
            "REDIS_URL": servers.orders_redis.url,
            "AMQP_URL": f"amqp://guest:guest@127.0.0.1:{broker_line.port}/{vhost.name}",
            "PRODUCTS_URL": product_service.url,
            "LINES_AND_HOLDS": "true",
        }
    )


@pytest.fixture
async def orders_api(orders_settings: OrdersSettings, orders_redis: Redis) -> AsyncIterator[Api]:
    """The order service, whole."""
    async with running(create_orders(orders_settings)) as api:
        yield api


@asynccontextmanager
async def running(app: web.Application) -> AsyncIterator[Api]:
    """Begins when every check of the service passes."""
    async with serve(app) as url, connect(url) as api:
        await eventually(lambda: is_up(api))
        yield api


async def is_up(api: Api) -> bool:
    answer = await api.get("/health/ready")
    return set(answer.data["checks"].values()) == {"ok"}
