"""The server under a cache is exchanged for another one, which may hold what was dropped before."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis as Client
from redis.exceptions import RedisError

from shared.cache import Cache, open_cache
from shared.tasks import BackgroundTasks
from tests.integration.line import Line, line_to
from tests.integration.outages import hung
from tests.integration.shared.test_cache import KEY, NEW, OLD, OTHER, Source
from tests.waiting import eventually, reaches
from tools.stack import ports, programs
from tools.stack.processes import Command
from tools.stack.redis import Redis
from tools.stack.servers import Servers

pytestmark = pytest.mark.usefixtures("busy_machine")
_SENTINEL = """\
bind 127.0.0.1
port {port}
sentinel monitor main 127.0.0.1 {primary} 2
sentinel down-after-milliseconds main 1000
sentinel failover-timeout main 5000
"""


class Sentinel(Redis):
    """One that watches the server at `primary` as `main`."""

    def __init__(self, name: str, folder: Path, port: int, primary: int) -> None:
        super().__init__(name, folder, port, tied=True)
        self._primary = primary

    def command(self) -> Command:
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / "sentinel.conf"  # it writes into it what it learns
        if not file.exists():
            file.write_text(_SENTINEL.format(port=self.port, primary=self._primary))
        return Command((programs.require("redis-server"), str(file), "--sentinel"), {}, self._folder)


async def write(cache: Cache, source: Source) -> None:
    source.value = NEW
    await cache.drop([KEY])
    source.found.clear()


async def lead_new_connections_there(redis: Client, line: Line, port: int) -> None:
    line.leads_to(port)
    line.cut()
    line.restore()


async def demote_the_old_one(redis: Client, line: Line, port: int) -> None:
    """Its connections stay open."""
    line.leads_to(port)
    await command(redis, "REPLICAOF 127.0.0.1 9")


async def promote_it_anew(redis: Client, line: Line, port: int) -> None:
    """Between two commands of a process, whose connections stay open."""
    await command(redis, "REPLICAOF 127.0.0.1 9")
    await command(redis, "REPLICAOF NO ONE")


async def command(redis: Client, line: str) -> Any:
    execute: Callable[..., Awaitable[Any]] = redis.execute_command
    return await execute(*line.split())


@pytest.mark.parametrize("change", [lead_new_connections_there, demote_the_old_one, promote_it_anew])
async def test_behind_one_address_another_primary_is_flushed_before_it_is_used(  # noqa: PLR0917  # fixtures
    cache: Cache,
    redis: Client,
    orders_redis: Client,
    redis_line: Line,
    servers: Servers,
    change: Callable[[Client, Line, int], Awaitable[None]],
) -> None:
    source = Source(OLD)
    await source.is_not_asked(cache)
    await write(cache, source)
    assert [await source.is_not_asked(cache), await source.is_not_asked(cache)] == [False, True]
    source.found.clear()
    new = redis if change is promote_it_anew else orders_redis
    await orders_redis.set(KEY, OLD)
    await new.set(OTHER, OLD)

    async def is_flushed() -> bool:
        await source.is_not_asked(cache)
        return not await new.exists(OTHER)

    try:
        await change(redis, redis_line, servers.orders_redis.port)
        await eventually(is_flushed, within=3.0)
        await eventually(lambda: source.is_not_asked(cache))
        assert (set(source.found), await new.get(KEY)) == ({NEW}, NEW)
        await reaches(cache.is_up, True)
    finally:
        await command(redis, "REPLICAOF NO ONE")


@asynccontextmanager
async def started(*servers: Redis) -> AsyncIterator[None]:
    try:
        await asyncio.gather(*(server.start() for server in servers))
        yield
    finally:
        await asyncio.gather(*(server.kill() for server in servers))


async def test_sentinels_name_the_primary_and_one_that_comes_back_as_its_rival_is_left_alone(
    servers_folder: Path, tasks: BackgroundTasks
) -> None:
    port = ports.choose_each(["first", "second", "watcher", "other"])
    folder = servers_folder / "sentinels"
    first, second = (Redis(name, folder, port[name], tied=True) for name in ("first", "second"))
    watchers = [Sentinel(name, folder, port[name], first.port) for name in ("watcher", "other")]
    async with line_to(watchers[0].port) as silent, started(first, second):
        silent.hold_answers()
        await ask(second, f"REPLICAOF 127.0.0.1 {first.port}")
        await ask(second, "CONFIG SET replica-read-only no")
        hosts = (9, silent.port, *(each.port for each in watchers))
        url = f"redis+sentinel://{','.join(f'127.0.0.1:{each}' for each in hosts)}/main/0"
        async with started(*watchers), open_cache(url, tasks) as cache:
            source = Source(OLD)
            await eventually(lambda: source.is_not_asked(cache))
            assert await ask(first, f"GET {KEY}") == OLD
            await write(cache, source)
            await reaches(lambda: ask(second, f"EXISTS {KEY}"), 0)
            await ask(second, f"SET {KEY} {OLD.decode()}")
            await eventually(lambda: ask(watchers[0], "SENTINEL REPLICAS main"))
            async with hung(first):
                await reaches(lambda: role(second), b"master", within=20.0)
                await eventually(lambda: source.is_not_asked(cache))
                assert (set(source.found), await ask(second, f"GET {KEY}")) == ({NEW}, NEW)
            # It believes to be the primary until a Sentinel tells it, some ten seconds later.
            await write(cache, source)
            assert await ask(second, f"EXISTS {KEY}") == 0
            assert await cache.is_up()


async def ask(server: Redis, line: str) -> Any:
    """On a connection of its own: Sentinel ends all to a server that it promotes."""
    async with Client.from_url(server.url) as redis:
        return await command(redis, line)


async def role(server: Redis) -> Any:
    with suppress(RedisError):
        return (await ask(server, "ROLE"))[0]
