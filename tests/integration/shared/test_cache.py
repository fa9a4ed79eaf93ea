import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from shared import deadline
from shared.cache import Cache, Load, open_cache
from shared.tasks import BackgroundTasks
from tests.integration.line import Line
from tests.integration.outages import hung, stopped
from tests.waiting import eventually
from tools.stack.servers import Servers

KEY = "product:1"


class Source:
    """What the cache reads from: counts its loads, and can be kept from answering with what it has read."""

    def __init__(self, value: bytes | None) -> None:
        self.value = value
        self.loads = 0
        self.has_read = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def load(self) -> bytes | None:
        self.loads += 1
        value = self.value
        self.has_read.set()
        await self.may_answer.wait()
        return value


class NaiveCache:
    """Read-through as it is usually written."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def get(self, key: str, load: Load) -> bytes | None:
        found = await self._redis.get(key)
        if isinstance(found, bytes):
            return found
        value = await load()
        if value is not None:
            await self._redis.set(key, value, ex=60)
        return value

    async def drop(self, keys: list[str]) -> None:
        await self._redis.delete(*keys)


async def is_empty(redis: Redis) -> bool:
    return await redis.dbsize() == 0


async def value_after_a_slow_reader(
    get: Callable[[str, Load], Awaitable[bytes | None]], drop: Callable[[list[str]], Awaitable[None]]
) -> bytes | None:
    """What is read after a write that came while another reader was between its load and its SET."""
    source = Source(b'"old"')
    source.may_answer.clear()
    slow_reader = asyncio.ensure_future(get(KEY, source.load))
    await source.has_read.wait()

    source.value = b'"new"'
    await drop([KEY])
    source.may_answer.set()
    await slow_reader

    return await get(KEY, source.load)


async def test_a_value_is_loaded_once_and_lies_in_redis_as_plain_json(cache: Cache, redis: Redis) -> None:
    source = Source(b'{"id":1}')

    values = [await cache.get(KEY, source.load) for _ in range(3)]

    assert values == [b'{"id":1}'] * 3
    assert source.loads == 1
    assert await redis.get(KEY) == b'{"id":1}'
    assert 0 < await redis.ttl(KEY) <= 60


async def test_that_there_is_none_is_remembered_for_five_seconds_at_most(cache: Cache, redis: Redis) -> None:
    source = Source(None)

    values = [await cache.get(KEY, source.load) for _ in range(3)]

    assert values == [None] * 3
    assert source.loads == 1
    assert await redis.get(KEY) == b"null"
    assert 0 < await redis.pttl(KEY) <= 5000


async def test_fifty_readers_of_a_missing_key_share_one_load(cache: Cache) -> None:
    source = Source(b"1")

    values = await asyncio.gather(*(cache.get(KEY, source.load) for _ in range(50)))

    assert values == [b"1"] * 50
    assert source.loads == 1


async def test_a_reader_that_gives_up_does_not_end_the_load_of_the_others(cache: Cache) -> None:
    source = Source(b"1")
    source.may_answer.clear()
    first = asyncio.ensure_future(cache.get(KEY, source.load))
    second = asyncio.ensure_future(cache.get(KEY, source.load))
    await source.has_read.wait()

    first.cancel()
    source.may_answer.set()

    assert await second == b"1"
    assert source.loads == 1


async def test_a_failed_load_reaches_all_its_readers_and_is_not_remembered(cache: Cache) -> None:
    async def fail() -> bytes | None:
        raise LookupError

    outcomes = await asyncio.gather(*(cache.get(KEY, fail) for _ in range(3)), return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [LookupError] * 3
    assert await cache.get(KEY, Source(b"1").load) == b"1"


async def test_without_a_lease_an_old_value_lands_after_the_write(redis: Redis) -> None:
    """The race that the next test is about: it is there."""
    naive = NaiveCache(redis)

    assert await value_after_a_slow_reader(naive.get, naive.drop) == b'"old"'


async def test_with_a_lease_a_value_read_before_a_write_is_not_stored_after_it(cache: Cache) -> None:
    assert await value_after_a_slow_reader(cache.get, cache.drop) == b'"new"'


async def test_the_write_may_come_from_another_process(cache: Cache, servers: Servers, tasks: BackgroundTasks) -> None:
    async with open_cache(servers.products_redis.url, tasks) as other:
        assert await value_after_a_slow_reader(cache.get, other.drop) == b'"new"'


async def test_a_reader_after_a_write_does_not_join_the_load_from_before_it(cache: Cache) -> None:
    source = Source(b'"old"')
    source.may_answer.clear()
    slow_reader = asyncio.ensure_future(cache.get(KEY, source.load))
    await source.has_read.wait()

    source.value = b'"new"'
    await cache.drop([KEY])
    late_reader = asyncio.ensure_future(cache.get(KEY, source.load))
    await eventually(lambda: source.loads == 2)
    source.may_answer.set()

    assert (await slow_reader, await late_reader) == (b'"old"', b'"new"')


async def test_without_redis_each_reader_goes_to_the_source(cache: Cache, servers: Servers) -> None:
    source = Source(b"1")

    async with stopped(servers.products_redis):
        values = [await cache.get(KEY, source.load) for _ in range(3)]

    assert values == [b"1"] * 3
    assert source.loads == 3


async def test_a_hung_redis_costs_a_reader_no_more_than_its_limit(cache: Cache, servers: Servers) -> None:
    source = Source(b"1")
    await cache.get("another", source.load)  # so that there is a connection that hangs

    async with hung(servers.products_redis):
        started = time.monotonic()
        value = await cache.get(KEY, source.load)
        lasted = time.monotonic() - started

    assert value == b"1"
    assert lasted < 0.5


async def test_after_a_drop_that_redis_did_not_take_the_cache_is_flushed_and_used_again(
    cache: Cache, redis: Redis, redis_line: Line
) -> None:
    source, other = Source(b'"old"'), Source(b'"other"')
    await cache.get(KEY, source.load)
    await cache.get("product:2", other.load)

    redis_line.cut()
    source.value = b'"new"'
    await cache.drop([KEY])
    assert await redis.get(KEY) == b'"old"'
    assert await cache.get(KEY, source.load) == b'"new"'
    redis_line.restore()
    await eventually(lambda: is_empty(redis))

    async def is_hit() -> bool:
        loads = source.loads
        assert await cache.get(KEY, source.load) == b'"new"'
        return source.loads == loads

    await eventually(is_hit)
    assert await redis.get(KEY) == b'"new"'


async def test_until_the_flush_every_key_is_read_from_its_source_although_redis_is_back(
    redis: Redis, redis_line: Line
) -> None:
    async with Redis.from_url(f"redis://127.0.0.1:{redis_line.port}/0") as client:
        cache = Cache(client)  # no task flushes it
        dropped, other = Source(b'"old"'), Source(b'"other"')
        await cache.get(KEY, dropped.load)
        await cache.get("product:2", other.load)

        redis_line.cut()
        await cache.drop([KEY])
        redis_line.restore()
        dropped.value = b'"new"'
        values = await cache.get(KEY, dropped.load), await cache.get("product:2", other.load)

    assert await redis.get(KEY) == b'"old"'
    assert values == (b'"new"', b'"other"')
    assert (dropped.loads, other.loads) == (2, 2)


async def test_a_drop_that_fails_while_the_cache_is_flushed_leads_to_another_flush(
    redis: Redis, redis_line: Line, tasks: BackgroundTasks
) -> None:
    class Client(Redis):
        flushes = 0

        async def flushdb(self, *arguments: Any, **options: Any) -> bool:
            await super().flushdb(*arguments, **options)
            self.flushes += 1
            if self.flushes == 1:  # done by Redis, and not yet known here
                await redis.set(KEY, b'"old"')
                await fail_to_drop()
            return True

    async def fail_to_drop() -> None:
        redis_line.cut()
        try:
            await cache.drop([KEY])
        finally:
            redis_line.restore()

    async with Client(host="127.0.0.1", port=redis_line.port, retry=Retry(NoBackoff(), 0)) as client:
        cache = Cache(client)
        await fail_to_drop()
        flusher = tasks.start("flusher", cache.flush_after_failed_drops())
        await eventually(lambda: client.flushes == 2)
        await eventually(lambda: is_empty(redis))

        values = [await cache.get(KEY, Source(value).load) for value in (b'"new"', b'"not read"')]
        assert not flusher.done()

    assert values == [b'"new"'] * 2


async def test_a_drop_whose_writer_gave_up_while_it_waited_counts_as_failed(
    cache: Cache, redis: Redis, redis_line: Line
) -> None:
    await cache.get(KEY, Source(b'"old"').load)
    redis_line.hold_answers()
    before = asyncio.create_task(cache.drop(["product:2"]))
    await asyncio.sleep(0)
    writer = asyncio.create_task(cache.drop([KEY]))  # waits for the drop before it
    await asyncio.sleep(0)
    writer.cancel()
    await asyncio.wait({before, writer})
    redis_line.restore()

    async def is_dropped() -> bool:
        return await redis.get(KEY) is None

    assert writer.cancelled()
    await eventually(is_dropped)


async def test_a_load_that_others_share_is_not_bound_to_its_first_readers_deadline(cache: Cache) -> None:
    async def load() -> bytes:
        return b"%d" % deadline.left()

    with deadline.until(0.5):
        assert int(await cache.get(KEY, load) or b"") > 1


async def test_is_up_says_whether_redis_answers(cache: Cache, redis_line: Line) -> None:
    assert await cache.is_up()

    redis_line.cut()
    with pytest.raises((RedisError, OSError)):
        await cache.is_up()
