import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
import uvloop
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared import deadline
from shared.cache import Cache, open_cache
from shared.tasks import BackgroundTasks
from tests.integration.line import Line
from tests.integration.outages import hung, stopped
from tests.waiting import eventually, reaches
from tools.faults.proxy import Proxy
from tools.stack.servers import Servers

KEY, OTHER = "product:1", "product:2"
OLD, NEW = b'"old"', b'"new"'
pytestmark = pytest.mark.usefixtures("busy_machine")


class Source:
    """What the cache reads from: counts its loads, and can be kept from answering with what it has read."""

    def __init__(self, value: bytes | None) -> None:
        self.value = value
        self.loads = 0
        self.found: list[bytes | None] = []
        self.has_read = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def load(self) -> bytes | None:
        self.loads += 1
        value = self.value
        self.has_read.set()
        await self.may_answer.wait()
        return value

    async def is_not_asked(self, cache: Cache) -> bool:
        """Whether the cache has the value, which is added to `found`."""
        loads = self.loads
        self.found.append(await cache.get(KEY, self.load, bytes))
        return self.loads == loads


async def reader_between_load_and_store(cache: Cache, source: Source) -> "asyncio.Future[bytes | None]":
    source.may_answer.clear()
    reader = asyncio.ensure_future(cache.get(KEY, source.load, bytes))
    await source.has_read.wait()
    return reader


@asynccontextmanager
async def opened(line: Line) -> AsyncIterator[Cache]:
    """One that nothing flushes yet."""
    cache = Cache(f"redis://127.0.0.1:{line.port}/0")
    await cache.primary.renew()
    try:
        yield cache
    finally:
        await cache.primary.close()


@pytest.mark.parametrize(
    ("value", "stored", "seconds"), [(b'{"id":1}', b'{"id":1}', (48, 60)), (None, b"null", (4, 5))]
)
async def test_a_value_is_loaded_once_and_lies_in_redis_as_plain_json_for_its_time(
    cache: Cache, redis: Redis, value: bytes | None, stored: bytes, seconds: tuple[int, int]
) -> None:
    source = Source(value)

    values = [await cache.get(KEY, source.load, bytes) for _ in range(3)]

    assert (values, source.loads) == ([value] * 3, 1)
    assert await redis.get(KEY) == stored
    low, high = seconds
    assert 1000 * (low - 3) < await redis.pttl(KEY) <= 1000 * high
    assert await redis.dbsize() == 1


async def test_readers_of_a_missing_key_share_one_load_even_if_one_of_them_gives_up(cache: Cache) -> None:
    source = Source(b"1")
    first = await reader_between_load_and_store(cache, source)
    others = [asyncio.ensure_future(cache.get(KEY, source.load, bytes)) for _ in range(50)]
    await asyncio.sleep(0)

    first.cancel()
    source.may_answer.set()

    assert await asyncio.gather(*others) == [b"1"] * 50
    assert source.loads == 1


async def test_a_failed_load_reaches_all_its_readers_and_is_not_remembered(cache: Cache) -> None:
    async def fail() -> bytes | None:
        raise LookupError

    outcomes = await asyncio.gather(*(cache.get(KEY, fail, bytes) for _ in range(3)), return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [LookupError] * 3
    assert await cache.get(KEY, Source(b"1").load, bytes) == b"1"


@pytest.mark.parametrize("process", ["this", "another"])
async def test_a_value_that_was_read_before_a_write_is_not_stored_after_it(
    cache: Cache, servers: Servers, tasks: BackgroundTasks, process: str
) -> None:
    source = Source(OLD)
    slow_reader = await reader_between_load_and_store(cache, source)

    source.value = NEW
    async with open_cache(servers.products_redis.url, tasks) as other:
        await (cache if process == "this" else other).drop([KEY])
    source.may_answer.set()

    assert await slow_reader == OLD
    assert await cache.get(KEY, source.load, bytes) == NEW


async def test_a_reader_after_a_write_does_not_join_the_load_from_before_it(cache: Cache) -> None:
    source = Source(OLD)
    slow_reader = await reader_between_load_and_store(cache, source)

    source.value = NEW
    await cache.drop([KEY])
    late_reader = asyncio.ensure_future(cache.get(KEY, source.load, bytes))
    await eventually(lambda: source.loads == 2)
    source.may_answer.set()

    assert (await slow_reader, await late_reader) == (OLD, NEW)


@pytest.mark.parametrize("outage", [stopped, hung])
async def test_without_redis_each_reader_goes_to_the_source(
    cache: Cache, servers: Servers, outage: Callable[[Any], Any], busy_machine: pytest.MonkeyPatch
) -> None:
    source = Source(b"1")
    await cache.get(OTHER, source.load, bytes)  # so that there is a connection that breaks or hangs
    busy_machine.undo()

    async with outage(servers.products_redis), asyncio.timeout(1.4):  # each has 50 ms
        values = [await cache.get(KEY, source.load, bytes) for _ in range(3)]

    assert (values, source.loads) == ([b"1"] * 3, 4)


async def test_after_a_drop_that_redis_did_not_take_every_key_is_read_from_its_source_until_a_flush(
    redis: Redis, redis_line: Line, tasks: BackgroundTasks
) -> None:
    async with opened(redis_line) as cache:
        dropped, other = Source(OLD), Source(b'"other"')
        await cache.get(KEY, dropped.load, bytes)
        await cache.get(OTHER, other.load, bytes)

        redis_line.cut()
        await cache.drop([KEY])
        redis_line.restore()
        dropped.value = NEW
        values = await cache.get(KEY, dropped.load, bytes), await cache.get(OTHER, other.load, bytes)
        assert await redis.get(KEY) == OLD
        assert values == (NEW, b'"other"')
        assert not await cache.is_up()
        assert (dropped.loads, other.loads) == (2, 2)

        tasks.start("cache", cache.follow())
        await eventually(lambda: dropped.is_not_asked(cache))
        assert set(dropped.found) == {NEW}
        assert (await redis.get(KEY), await redis.get(OTHER)) == (NEW, None)


@pytest.mark.parametrize(
    ("refuse", "relent"),
    [
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
        ("REPLICAOF 127.0.0.1 9", "REPLICAOF NO ONE"),
        ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"),
    ],
)
async def test_a_redis_that_can_only_be_read_is_down(cache: Cache, redis: Redis, refuse: str, relent: str) -> None:
    """A full memory, a replica, a primary without replicas."""
    command: Callable[..., Awaitable[object]] = redis.execute_command
    assert await cache.is_up()
    try:
        await command(*refuse.split())
        assert await redis.ping()
        with pytest.raises(RedisError):
            await cache.is_up()
    finally:
        await command(*relent.split())
    await reaches(cache.is_up, True)


async def test_a_drop_that_fails_during_a_flush_leads_to_another(
    redis: Redis, redis_line: Line, tasks: BackgroundTasks, busy_machine: pytest.MonkeyPatch
) -> None:
    flushes = 0
    flush = Redis.flushdb

    async def flushdb(self: Redis, *arguments: Any, **options: Any) -> bool:
        nonlocal flushes
        await flush(self, *arguments, **options)
        flushes += 1
        if flushes == 1:  # done by Redis, and not yet known here
            await redis.set(KEY, OLD)
            await fail_to_drop()
        return True

    async def fail_to_drop() -> None:
        redis_line.cut()
        try:
            await cache.drop([KEY])
        finally:
            redis_line.restore()

    busy_machine.setattr(Redis, "flushdb", flushdb)
    async with opened(redis_line) as cache:
        await fail_to_drop()
        flusher = tasks.start("cache", cache.follow())
        await eventually(lambda: flushes >= 2)
        await reaches(redis.dbsize, 0)

        values = [await cache.get(KEY, Source(value).load, bytes) for value in (NEW, b'"not read"')]
        assert not flusher.done()

    assert values == [NEW] * 2


async def test_a_drop_whose_writer_gave_up_waiting_has_failed(cache: Cache, redis: Redis, redis_line: Line) -> None:
    await cache.get(KEY, Source(OLD).load, bytes)
    redis_line.hold_answers()
    before = asyncio.create_task(cache.drop([OTHER]))
    await asyncio.sleep(0)
    writer = asyncio.create_task(cache.drop([KEY]))  # waits for the drop before it
    await asyncio.sleep(0)
    writer.cancel()
    await asyncio.wait({before, writer})
    redis_line.restore()

    assert writer.cancelled()
    await reaches(lambda: redis.get(KEY), None)


async def test_a_load_that_others_share_is_not_bound_to_its_first_readers_deadline(cache: Cache) -> None:
    async def load() -> bytes:
        return b"%d" % deadline.left()

    with deadline.until(0.5):
        assert int(await cache.get(KEY, load, bytes) or b"") > 1


def test_a_reset_connection_only_costs_the_cached_value(servers: Servers) -> None:
    """On the event loop of the services, which has an error of its own for a connection that was reset."""

    async def read_over_connections_that_are_reset() -> list[bytes | None]:
        link = Proxy(servers.products_redis.port)
        await link.start()
        found = []
        try:
            tasks = BackgroundTasks()
            async with tasks, open_cache(f"redis://127.0.0.1:{link.port}/0", tasks) as cache:
                for number in range(100):
                    keys = [f"reset:{number}:{reader}" for reader in range(4)]
                    readers = [asyncio.create_task(cache.get(key, Source(OLD).load, bytes)) for key in keys]
                    await asyncio.sleep(0)
                    link.reset()
                    found += await asyncio.gather(*readers)
                    await cache.drop(keys[:1])
        finally:
            await link.stop()
        return found

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(read_over_connections_that_are_reset()) == [OLD] * 400


@pytest.mark.parametrize("entry", [b"not JSON", b"", b"\xff", b"[1]", "a list"])
async def test_an_entry_that_cannot_be_read_is_dropped_and_the_source_answers(
    cache: Cache, redis: Redis, entry: bytes | str
) -> None:
    def parse(content: bytes) -> int:
        return int(orjson.loads(content)["id"])

    await (redis.rpush(KEY, "1") if entry == "a list" else redis.set(KEY, entry))
    source = Source(b'{"id":1}')

    values = [await cache.get(KEY, source.load, parse) for _ in range(3)]

    assert (values, source.loads) == ([1, 1, 1], 2)  # the second reader stores what it has loaded
    assert await redis.get(KEY) == b'{"id":1}'


async def test_a_lease_that_is_no_string_is_replaced(cache: Cache, redis: Redis) -> None:
    await redis.rpush(f"{KEY}:lease", "1")

    assert await cache.get(KEY, Source(b"1").load, bytes) == b"1"
    assert await redis.get(KEY) == b"1"
