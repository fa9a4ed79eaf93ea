"""What is done to a Redis past its services."""

import asyncio
from collections.abc import Awaitable, Callable

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tools.faults.insistence import insist

CALL_SECONDS = 2.0

# All that a client sees of Redis's clock is when keys go. ARGV: the milliseconds by which the clock jumps ahead.
JUMP = """
for _, key in ipairs(redis.call('KEYS', '*')) do
    local left = redis.call('PTTL', key)
    if left >= 0 then redis.call('PEXPIRE', key, left - ARGV[1]) end
end
"""


async def flush(url: str) -> None:
    await _insist(url, lambda redis: redis.flushall())


async def jump(url: str, seconds: float) -> None:
    """Moves its clock by so many seconds from where it is."""
    await _insist(url, lambda redis: redis.register_script(JUMP)(args=[round(seconds * 1000)]))


async def _insist(url: str, work: Callable[[Redis], Awaitable[object]]) -> None:
    async def attempt() -> None:
        async with asyncio.timeout(CALL_SECONDS), Redis.from_url(url) as redis:
            await work(redis)

    await insist(f"changing {url}", attempt, RedisError, OSError)
