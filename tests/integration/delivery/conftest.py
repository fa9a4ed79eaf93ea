"""Both services in this process; the test delivers the events between them."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from orders.app import create_app as create_orders
from orders.settings import Settings as OrdersSettings
from products.app import create_app as create_products
from products.settings import Settings as ProductsSettings
from tests.api import connect, serve
from tests.broker import Vhost
from tests.integration.delivery.shop import Shop, open_shop
from tools.stack.servers import Servers


@pytest.fixture
async def products_url(servers: Servers, products_database_url: str, vhost: Vhost, redis: Redis) -> AsyncIterator[str]:
    """The product service."""
    redis_url = servers.products_redis.url
    settings = {"DATABASE_URL": products_database_url, "REDIS_URL": redis_url, "AMQP_URL": vhost.url}
    async with serve(create_products(ProductsSettings.load(settings))) as url:
        yield url


@pytest.fixture
async def orders_url(
    servers: Servers, orders_database_url: str, vhost: Vhost, orders_redis: Redis, products_url: str
) -> AsyncIterator[str]:
    """The order service; the two have a broker of their own."""
    redis_url = servers.orders_redis.url
    settings = {"DATABASE_URL": orders_database_url, "REDIS_URL": redis_url, "AMQP_URL": vhost.url}
    async with serve(create_orders(OrdersSettings.load({**settings, "PRODUCTS_URL": products_url}))) as url:
        yield url


@pytest.fixture
async def shop(
    products_url: str, orders_url: str, products_database_url: str, orders_database_url: str, vhost: Vhost
) -> AsyncIterator[Shop]:
    await vhost.declare()
    async with (
        connect(products_url) as products,
        connect(orders_url) as orders,
        open_shop(products, orders, owner(products_database_url), owner(orders_database_url), vhost) as shop,
    ):
        yield shop


def owner(url: str) -> str:
    """The URL for the owner of the schema, whose password is the same."""
    return url.replace("products:", "products_owner:", 1).replace("orders:", "orders_owner:", 1)
