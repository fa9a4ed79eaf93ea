import signal
import time

import pytest

from tests.api import Api
from tests.e2e.ordering import assert_nothing_was_lost_or_doubled, ordering
from tests.e2e.system import System
from tools.stack.servers import Servers

LAMP = {"name": "Lamp", "price": "1.00", "qty": 10}


@pytest.mark.timeout(120)  # RabbitMQ alone takes a quarter of a minute to stop and to start
async def test_orders_are_accepted_while_rabbitmq_is_stopped(api: Api, system: System, servers: Servers) -> None:
    async with ordering(api) as orders:
        await orders.accepts(20)
        await servers.rabbitmq.stop()
        await orders.accepts(20)
        assert not await system.all_are_final(orders.product_id)
        await servers.rabbitmq.start()
        await orders.accepts(20)

    assert orders.refused.total() == 0
    await assert_nothing_was_lost_or_doubled(system, orders)


@pytest.mark.timeout(120)
async def test_events_that_were_not_confirmed_are_published_again(api: Api, system: System, servers: Servers) -> None:
    async with ordering(api) as orders:
        await orders.accepts(20)
        servers.rabbitmq.daemon.send(signal.SIGSTOP)
        await orders.accepts(20)
        await servers.rabbitmq.kill()
        await servers.rabbitmq.start()

    assert orders.refused.total() == 0
    await assert_nothing_was_lost_or_doubled(system, orders)


async def test_without_databases_answers_are_503_and_none_is_lost(api: Api, system: System, servers: Servers) -> None:
    async with ordering(api) as orders:
        await orders.accepts(20)
        await servers.postgres.stop()
        started = time.monotonic()
        answer = await api.get(f"/orders/product/{orders.product_id}?limit=2")
        lasted = time.monotonic() - started
        await servers.postgres.start()
        await orders.accepts(20)

    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "unavailable", "1")
    assert lasted < 2
    assert set(orders.refused) <= {"503 unavailable", "504 outcome_unknown"}
    await assert_nothing_was_lost_or_doubled(system, orders)


async def test_without_redis_everything_still_works(api: Api, system: System, servers: Servers) -> None:
    async with ordering(api) as orders:
        await orders.accepts(20)
        await servers.products_redis.stop()
        await servers.orders_redis.stop()
        await orders.accepts(20)
        product = await api.get(f"/products/{orders.product_id}")
        await servers.products_redis.start()
        await servers.orders_redis.start()
        await orders.accepts(20)

    assert product.status == 200
    assert orders.refused.total() == 0
    await assert_nothing_was_lost_or_doubled(system, orders)
