"""On the event loop that the services run on, which has words of its own for a connection that was reset."""

import asyncio

import uvloop

from shared.cache import open_cache
from shared.tasks import BackgroundTasks
from tools.faults.proxy import Proxy
from tools.stack.servers import Servers


async def load() -> bytes:
    return b'"value"'


async def read_over_connections_that_are_reset(port: int) -> list[bytes | None]:
    link = Proxy(port)
    await link.start()
    found = []
    try:
        tasks = BackgroundTasks()
        async with tasks, open_cache(f"redis://127.0.0.1:{link.port}/0", tasks) as cache:
            for number in range(100):
                readers = [asyncio.create_task(cache.get(f"reset:{number}:{reader}", load)) for reader in range(4)]
                await asyncio.sleep(0)
                link.reset()
                found += await asyncio.gather(*readers)
                await cache.drop([f"reset:{number}:0"])
    finally:
        await link.stop()
    return found


def test_a_reset_connection_only_costs_the_cached_value(servers: Servers) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(read_over_connections_that_are_reset(servers.products_redis.port))

    assert found == [b'"value"'] * 400
