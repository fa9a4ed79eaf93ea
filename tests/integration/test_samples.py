"""A sample of a soak holds what is really there, in real servers."""

import os

import asyncpg

from tests.broker import Vhost
from tests.waiting import eventually
from tools.bench import samples, storage
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
    url = {
        "orders-db": orders_database_url,
        "products-db": products_database_url,
        "orders-redis": servers.orders_redis.url,
        "products-redis": servers.products_redis.url,
        "rabbitmq": servers.rabbitmq.url,
    }
    stack = RunningStack(url, pids={"test": os.getpid()}, broker_ui=servers.rabbitmq.ui_url)
    await vhost.declare()
    await vhost.publish_batch({"type": "order.created"})
    service = await asyncpg.connect(orders_database_url)
    before = await samples.take(stack)
    stored = await storage.take(stack)
    await service.execute(PLACE)
    await service.execute(FILL_OUTBOX)

    async def queued() -> bool:
        """The broker counts its messages now and then."""
        sample = await samples.take(stack)
        return sample.figures.get((Kind.QUEUE, "products.orders")) == 1

    await eventually(queued, within=20)
    after = await samples.take(stack)
    await service.close()
    left = storage.of_run(stored, await storage.take(stack))
    assert min(left.disk["orders-db orders_pkey"], left.disk_bytes, left.wal_bytes) > 0
    assert after.newest_order - before.newest_order == 3
    assert (after.figures[Kind.OUTBOX_ROWS, "orders-db"], after.figures[Kind.OUTBOX_ROWS, "products-db"]) == (2, 0)
    assert (after.figures[Kind.CONNECTIONS, "orders-db"], after.figures[Kind.CONNECTIONS, "products-db"]) == (1, 0)
    assert after.figures[Kind.MEMORY, "test"] > 2**20
    assert after.figures[Kind.OPEN_FILES, "test"] > 3
    assert after.figures[Kind.CACHE, "orders-redis"] > 0
    assert after.figures[Kind.OUTBOX_SIZE, "products-db"] > 0
    assert {part for kind, part in after.figures if kind is Kind.TABLE_SIZE} == {
        "orders-db orders",
        "orders-db order_entries",
        "products-db reservations",
        "products-db stock_movements",
        "products-db idempotency_keys",
    }
