"""A sample of a soak holds what is really there, in real servers."""

import os

import asyncpg

from tests.broker import Vhost
from tests.waiting import eventually
from tools.bench import sampler
from tools.bench.sampler import Sampler
from tools.bench.samples import Kind
from tools.running import RunningStack
from tools.stack.servers import Servers

PLACE = """
INSERT INTO orders (product_id, quantity, unit_price, total_price, trace_id) SELECT 1, 1, 1, 1, md5(n::text)
FROM generate_series(1, 3) AS n
"""
FILL_OUTBOX = "INSERT INTO outbox (type, payload) SELECT 'order.created', '{}' FROM generate_series(1, 2)"


async def test_a_sample_holds_what_is_there(
    servers: Servers, vhost: Vhost, orders_database_url: str, products_database_url: str
) -> None:
    stack = RunningStack(
        url={
            "orders-db": orders_database_url,
            "products-db": products_database_url,
            "orders-redis": servers.orders_redis.url,
            "products-redis": servers.products_redis.url,
            "rabbitmq": servers.rabbitmq.url,
        },
        pids={"test": os.getpid()},
    )
    await vhost.declare()
    await vhost.publish_batch({"type": "order.created"})
    service = await asyncpg.connect(orders_database_url)
    await service.execute(PLACE)
    async with sampler.opened(stack, servers.rabbitmq.ui_url) as measured:
        await service.execute(PLACE)
        await service.execute(FILL_OUTBOX)
        await eventually(lambda: queued(measured), within=20)
        sample = await measured.take()
    await service.close()
    figures = sample.figures
    assert sample.orders == 3
    assert figures[Kind.OUTBOX_ROWS] == {"orders-db": 2, "products-db": 0}
    assert figures[Kind.CONNECTIONS] == {"orders-db": 1, "products-db": 0}
    assert figures[Kind.MEMORY]["test"] > 2**20
    assert figures[Kind.OPEN_FILES]["test"] > 3
    assert min(*figures[Kind.CACHE].values(), *figures[Kind.OUTBOX_SIZE].values()) > 0
    assert set(figures[Kind.TABLE_SIZE]) == {
        "orders-db orders",
        "orders-db order_history",
        "products-db reservations",
        "products-db stock_movements",
        "products-db idempotency_keys",
    }


async def queued(measured: Sampler) -> bool:
    """The broker counts its messages now and then."""
    return (await measured.take()).figures[Kind.QUEUE].get("products.orders") == 1
