"""Calls another service: explicit limits, the trace handed on, every failure mapped to a code."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from shared import tracing
from shared.errors import AppError, Code

# Shorter than the server's (shared.web.server), so that the client never sends into a closing connection.
KEEPALIVE = 30.0
_CONNECTIONS = 512


@dataclass(frozen=True, slots=True)
class Reply:
    """What an upstream answered, read whole."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: for the whole call, for a connection (the wait for a free one included), between two reads."""

    total: float = 5.0
    connect: float = 1.0
    read: float = 5.0


@asynccontextmanager
async def client_session(limits: Limits) -> AsyncIterator[aiohttp.ClientSession]:
    """A session for calls between services: no cookies, no redirects, bodies passed on as they come."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=KEEPALIVE),
        timeout=aiohttp.ClientTimeout(total=limits.total, connect=limits.connect, sock_read=limits.read),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
    )
    try:
        yield session
    finally:
        await session.close()


class Upstream:
    """One service, as its clients see it."""

    def __init__(self, name: str, base_url: str, session: aiohttp.ClientSession) -> None:
        self.name = name
        self._base = base_url.rstrip("/")
        self._session = session

    async def request(
        self, method: str, target: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Reply:
        """`target` is an encoded path with its query.

        Raises AppError: UNAVAILABLE if no connection could be made, UPSTREAM_TIMEOUT past a limit,
        UPSTREAM_ERROR if the answer broke off or was no HTTP.
        """
        url = _url(self._base + target)
        try:
            async with self._session.request(
                method, url, headers=_with_trace(headers), data=body, allow_redirects=False
            ) as response:
                return Reply(response.status, response.headers, await response.read())
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as error:
            raise AppError(Code.UNAVAILABLE, f"{self.name} cannot be reached") from error
        except TimeoutError as error:
            raise AppError(Code.UPSTREAM_TIMEOUT, f"{self.name} did not answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise AppError(Code.UPSTREAM_ERROR, f"{self.name} gave no usable answer") from error

    async def is_ready(self) -> bool:
        reply = await self.request("GET", "/health/ready")
        return reply.status == 200  # noqa: PLR2004  # what `shared.web.health.ready` answers


@lru_cache(maxsize=1024)
def _url(text: str) -> URL:
    return URL(text, encoded=True)


def _with_trace(headers: Mapping[str, str] | None) -> CIMultiDict[str]:
    outgoing = CIMultiDict(headers or {})
    trace = tracing.current.get()
    if trace is not None:
        outgoing["traceparent"] = trace.traceparent
        outgoing["X-Request-ID"] = trace.request_id
    return outgoing
