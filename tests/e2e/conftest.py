"""The system, started once for all its tests; each of them finds it whole. Its services have users of their own."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from tests.api import Api, connect
from tests.broker import Vhost
from tests.databases import Databases
from tests.e2e.system import System
from tools.stack.servers import Servers


@pytest.fixture(scope="package")
async def running(
    servers: Servers, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[System]:
    for server in (servers.products_redis, servers.orders_redis):
        async with Redis.from_url(server.url) as redis:
            await redis.flushdb()
    urls = await Vhost(servers.rabbitmq, "").give_users()
    changes = {name: {"AMQP_URL": urls[name]} for name in ("products", "orders")}
    system = System(servers, tmp_path_factory.mktemp("system"), changes)
    await system.prepare(databases)
    try:
        await system.start()
        yield system
    finally:
        await system.stop()


@pytest.fixture
async def system(running: System) -> System:
    """Whatever the test before has ended is started again."""
    await running.start()
    return running


@pytest.fixture
async def api(system: System) -> AsyncIterator[Api]:
    """The gateway's."""
    async with connect(system.url) as api:
        yield api
