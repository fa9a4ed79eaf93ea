"""A read-through cache in Redis that never serves what a finished write made stale.

Beside each value may lie a lease, a random token that a reader takes with its miss. A write deletes value and
lease; a reader's value is stored only while its lease still lies there. So a value that was loaded before a write
cannot land after it, however slow its reader is. Keys hold plain JSON; `null` says that there is no such thing.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NoReturn, TypeVar

import structlog
from redis.exceptions import RedisError

from shared import deadline, metrics
from shared.batching import Batcher
from shared.primary import Primary
from shared.tasks import BackgroundTasks, backoff

log = structlog.get_logger()

Value = TypeVar("Value")
Load = Callable[[], Awaitable[bytes | None]]

NONE = b"null"
# All in seconds.
_LIMIT = 0.05
_SPACING = 0.005
_TTL = 60.0
_TTL_OF_NONE = 5.0
_LEASE = 10.0
_LOOK = 1.0
# uvloop raises RuntimeError for a write to a connection that has just been reset.
_FAILURES = (RedisError, OSError, TimeoutError, RuntimeError)

# KEYS: n values, then their n leases. ARGV: a fresh token, its milliseconds. Returns value or false, lease or false.
# A value that is no string comes as an empty one, which no JSON is; a lease that is no string is replaced.
_READ = """
local n, answer = #KEYS / 2, {}
for i = 1, n do
    local value = redis.pcall('GET', KEYS[i])
    local lease = false
    if type(value) == 'table' then
        value = ''
    elseif not value then
        lease = redis.pcall('GET', KEYS[n + i])
        if type(lease) ~= 'string' then
            lease = ARGV[1]
            redis.call('SET', KEYS[n + i], lease, 'PX', ARGV[2])
        end
    end
    answer[2 * i - 1], answer[2 * i] = value, lease
end
return answer
"""

# KEYS: value, lease. ARGV: the reader's lease, the value, its milliseconds.
_FILL = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[2])
return 1
"""


class Cache:
    """Reads and drops go out in shared batches; a round trip has 50 ms, then the source answers instead.

    After a drop that Redis did not take, and when another server has become the primary, this process reads every key
    from its source until a FLUSHDB has succeeded. What a crash leaves undropped expires within 60 s.
    """

    def __init__(self, url: str) -> None:
        self.primary = Primary(url, _LIMIT, self._bypass)
        self._reads: Batcher[str, tuple[bytes | None, bytes | None]] = Batcher(
            self._read, spacing=_SPACING, span="EVALSHA", system="redis"
        )
        self._drops: Batcher[Collection[str], None] = Batcher(self._drop, span="DEL", system="redis")
        self._loads: dict[tuple[str, bytes], asyncio.Task[bytes | None]] = {}
        self._bypassed = False
        for outcome in ("hit", "miss", "down", "bypass", "unreadable"):
            metrics.CACHE.labels(outcome)
        # Set while a drop has failed, or another primary was seen, since the last FLUSHDB began.
        self._flush_needed = asyncio.Event()

    async def get(self, key: str, load: Load, parse: Callable[[bytes], Value]) -> Value | None:
        """Parses the cached JSON, or the result of `load`; None if there is no such thing. Raises what `load` raises.

        `parse` raises anything for JSON that cannot be of this key: it is dropped, and the source answers instead.
        """
        value, lease = (None, None) if self._bypassed else await self._reads.submit(key)
        if value is not None:
            try:
                found = _parsed(value, parse)
            except Exception as error:  # noqa: BLE001  # whatever lies there is not what this program has written
                metrics.CACHE.labels("unreadable").inc()
                log.warning("cache entry unreadable", key=key, error=repr(error))
                await self.drop([key])
                return _parsed(await load(), parse)
            metrics.CACHE.labels("hit").inc()
            return found
        if lease is None:
            metrics.CACHE.labels("bypass" if self._bypassed else "down").inc()
            return _parsed(await load(), parse)
        metrics.CACHE.labels("miss").inc()
        return _parsed(await asyncio.shield(self._load_once(key, lease, load)), parse)

    async def drop(self, keys: Collection[str]) -> None:
        """Call after the commit and before the answer: no later `get` returns what was true before the write."""
        if not keys:
            return
        try:
            await self._drops.submit(keys)
        except BaseException as error:
            self._bypass(error)  # the write is made even if its caller is cancelled before the drop is
            raise

    @asynccontextmanager
    async def dropping(self, keys: Collection[str]) -> AsyncIterator[None]:
        """Drops the keys after the write inside, even if it fails: it may have been committed.

        The write may add to the keys.
        """
        try:
            yield
        finally:
            await self.drop(keys)

    async def is_up(self) -> bool:
        """Whether it is in use and Redis takes a write, which it does not as a replica or where memory is full."""
        async with asyncio.timeout(_LIMIT):
            return bool(await self.primary.redis.set(_lease_of("health"), b"", px=1000)) and not self._bypassed

    async def follow(self) -> NoReturn:
        """Looks after the primary, and repeats a FLUSHDB that is needed until it succeeds, for as long as it runs."""
        pauses = backoff(first=0.05, most=2.0)
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await self._flush_needed.wait()
            if await self._flush_if_needed():
                pauses = backoff(first=0.05, most=2.0)
            else:
                await asyncio.sleep(next(pauses))

    def _load_once(self, key: str, lease: bytes, load: Load) -> "asyncio.Task[bytes | None]":
        # Shared only by readers who saw the same lease: no write came between their reads.
        flight = (key, lease)
        task = self._loads.get(flight)
        if task is None:
            task = self._loads[flight] = asyncio.create_task(self._load(key, lease, load), name=f"load {key}")
            task.add_done_callback(lambda done: self._landed(flight, done))
        return task

    def _landed(self, flight: tuple[str, bytes], task: "asyncio.Task[bytes | None]") -> None:
        del self._loads[flight]
        if not task.cancelled():
            task.exception()  # marks the error as seen: all readers may have left before it

    async def _load(self, key: str, lease: bytes, load: Load) -> bytes | None:
        # The deadline of the first reader does not apply: others wait for this load too.
        with deadline.until(_LEASE / 2):
            async with asyncio.timeout(_LEASE / 2):
                value = await load()
        ttl = (_TTL_OF_NONE if value is None else _TTL) * random.uniform(0.8, 1.0)  # noqa: S311  # jitter
        try:
            async with asyncio.timeout(_LIMIT):
                await self.primary.redis.register_script(_FILL)(
                    keys=[key, _lease_of(key)], args=[lease, NONE if value is None else value, int(ttl * 1000)]
                )
        except _FAILURES as error:
            log.debug("cache fill failed", key=key, error=repr(error))
        return value

    async def _read(self, keys: list[str]) -> Sequence[tuple[bytes | None, bytes | None]]:
        if self._bypassed:  # since they were asked for
            return [(None, None)] * len(keys)
        wanted = list(dict.fromkeys(keys))
        try:
            async with asyncio.timeout(_LIMIT):
                answer = await self.primary.redis.register_script(_READ)(
                    keys=[*wanted, *map(_lease_of, wanted)], args=[os.urandom(8).hex(), int(_LEASE * 1000)]
                )
        except _FAILURES as error:
            log.warning("cache read failed", keys=len(wanted), error=f"{type(error).__name__}: {error}")
            return [(None, None)] * len(keys)
        found = dict(zip(wanted, zip(answer[::2], answer[1::2], strict=True), strict=True))
        return [found[key] for key in keys]

    async def _drop(self, batches: list[Collection[str]]) -> Sequence[None]:
        if not self._flush_needed.is_set():  # else the FLUSHDB that is to come drops these keys too
            keys = {key for batch in batches for key in batch}
            try:
                async with asyncio.timeout(_LIMIT):
                    await self.primary.redis.delete(*keys, *map(_lease_of, keys))
            except _FAILURES as error:
                self._bypass(error)
        return [None] * len(batches)

    def _bypass(self, error: BaseException) -> None:
        if not self._bypassed:
            log.warning("cache bypassed", error=f"{type(error).__name__}: {error}")
        self._bypassed = True
        self._flush_needed.set()

    async def _flush_if_needed(self) -> bool:
        is_same = False
        with suppress(*_FAILURES):
            is_same = await self.primary.is_same()
        if not self._flush_needed.is_set():
            return True
        # A drop that fails from here on sets the event again: its write may come after this FLUSHDB.
        self._flush_needed.clear()
        try:
            if not is_same:
                await self.primary.renew()
            async with asyncio.timeout(_LIMIT):
                # Empty at once; the memory is freed in the background.
                await self.primary.redis.flushdb(asynchronous=True)
        except _FAILURES:
            self._flush_needed.set()
            return False
        if not self._flush_needed.is_set():
            self._bypassed = False
            log.info("cache flushed")
        return True


def _parsed(value: bytes | None, parse: Callable[[bytes], Value]) -> Value | None:
    return None if value is None or value == NONE else parse(value)


def _lease_of(key: str) -> str:
    return f"{key}:lease"


@asynccontextmanager
async def open_cache(url: str, tasks: BackgroundTasks) -> AsyncIterator[Cache]:
    """A cache that a task of `tasks` keeps at its primary, and flushes."""
    cache = Cache(url)
    with suppress(*_FAILURES):
        await cache.primary.renew()
    try:
        tasks.start("cache", cache.follow())
        yield cache
    finally:
        await cache.primary.close()
