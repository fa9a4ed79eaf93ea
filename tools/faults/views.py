"""How the system shows what is in its databases: cached JSON and the answers of each replica."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from redis.asyncio import Redis

_LIMIT = 10.0
_HTTP_LIMIT = aiohttp.ClientTimeout(total=_LIMIT)
_LEASE = ":lease"


@dataclass(frozen=True, slots=True)
class Cached:
    """`seconds` until it expires, -1 for never."""

    redis: str
    key: str
    content: Any
    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is None if it was not JSON."""

    replica: str
    path: str
    status: int
    body: Any


async def cached(name: str, url: str) -> tuple[Cached, ...]:
    """Everything but leases; what expires meanwhile is left out."""
    redis = Redis.from_url(url, socket_timeout=_LIMIT, socket_connect_timeout=_LIMIT)
    try:
        async with asyncio.timeout(_LIMIT):
            keys = [key.decode() async for key in redis.scan_iter("*") if not key.endswith(_LEASE.encode())]
            async with redis.pipeline(transaction=True) as pipeline:  # so that value and TTL belong together
                for key in keys:
                    pipeline.get(key)
                    pipeline.pttl(key)
                answers = await pipeline.execute()
    finally:
        await redis.aclose()
    return tuple(
        Cached(name, key, orjson.loads(value), left if left < 0 else left / 1e3)
        for key, value, left in zip(keys, answers[::2], answers[1::2], strict=True)
        if value is not None
    )


async def answers(questions: Iterable[tuple[str, str, str]]) -> tuple[Answer, ...]:
    """To GET; a question is the replica's name, its URL and a path. Raises OSError, TimeoutError."""
    async with aiohttp.ClientSession(timeout=_HTTP_LIMIT) as session:
        return tuple([await _answer(session, *question) for question in questions])


async def _answer(session: aiohttp.ClientSession, name: str, url: str, path: str) -> Answer:
    try:
        async with session.get(url + path) as response:
            content = await response.read()
    except aiohttp.ClientError as error:
        raise OSError(f"{name}: GET {path}: {error!r}") from error
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        body = None
    return Answer(name, path, response.status, body)
