"""Calls another service: explicit limits, the trace handed on, every failure mapped to a code."""

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from shared import deadline, tracing
from shared.errors import AppError, Code
from shared.web.headers import SERVICE_SECRET

# Shorter than `ServerLimits.idle`, so that the client never sends into a closing connection.
KEEPALIVE = 30.0
_RETRIED_BY_AIOHTTP = frozenset({"GET", "HEAD"})
_FAILURES = (aiohttp.ClientError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Reply:
    """What an upstream answered, read whole."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes


def client_session(
    limits: aiohttp.ClientTimeout,
    secrets: Sequence[str] = (),
    *,
    connections: int = 512,
    middlewares: Sequence[aiohttp.ClientMiddlewareType] = (),
) -> aiohttp.ClientSession:
    """A session for calls between services: no cookies, no redirects, bodies passed on as they come.

    `limits` has seconds for the whole call, for a connection (the wait for a free one included), between two reads.
    Every call carries the first of `secrets`.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=KEEPALIVE),
        timeout=limits,
        headers={SERVICE_SECRET: secrets[0]} if secrets else None,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        middlewares=middlewares,
    )


async def once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Disables aiohttp's automatic retries; the gateway has its own retry policy."""
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise aiohttp.ClientError(repr(error)) from error


class ServiceClient:
    """Calls one service at one address."""

    def __init__(self, name: str, base_url: str, session: aiohttp.ClientSession) -> None:
        self.name = name
        self._base = base_url.rstrip("/")
        self._session = session

    async def request(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        extra_seconds: float = 0.0,
    ) -> Reply:
        """`target` is an encoded path with its query; `extra_seconds` are added to the session's limits.

        The call ends with the deadline of the request that it serves.

        Raises AppError: UNAVAILABLE if no connection could be made, UPSTREAM_TIMEOUT past a limit,
        UPSTREAM_ERROR if the answer broke off or was not HTTP.
        """
        limits = _limits(self._session.timeout, extra_seconds)
        async with self._call(method, target, headers, body, limits) as response:
            return Reply(response.status, response.headers, await response.read())

    def stream(
        self, method: str, target: str, *, headers: Mapping[str, str] | None = None, quiet: float
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """An answer without an end, with at most `quiet` seconds between its pieces. Raises what `request` raises."""
        limits = aiohttp.ClientTimeout(total=None, connect=self._session.timeout.connect, sock_read=quiet)
        return self._call(method, target, headers, None, limits)

    @asynccontextmanager
    async def _call(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None,
        body: bytes | None,
        limits: aiohttp.ClientTimeout,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._session.request(
                method,
                _url(self._base + target),
                headers=_with_context(headers),
                data=body,
                allow_redirects=False,
                timeout=limits,
                # A middleware costs some microseconds, and only aiohttp's retries need one.
                middlewares=None if method in _RETRIED_BY_AIOHTTP else (),
            ) as response:
                yield response
        except aiohttp.ClientResponseError as error:  # its repr shows the headers, and so the secret
            raise self._failure(error) from aiohttp.ClientError(str(error))
        except _FAILURES as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> AppError:
        if isinstance(error, (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError)):
            return AppError(Code.UNAVAILABLE, f"{self.name} cannot be reached")
        if isinstance(error, TimeoutError):
            return AppError(Code.UPSTREAM_TIMEOUT, f"{self.name} did not answer in time")
        return AppError(Code.UPSTREAM_ERROR, f"{self.name} gave no usable answer")


def _limits(limits: aiohttp.ClientTimeout, extra_seconds: float) -> aiohttp.ClientTimeout:
    """Shortens the limits to what is left until the deadline. Raises AppError UPSTREAM_TIMEOUT if it has passed."""
    total, left = (limits.total or math.inf) + extra_seconds, deadline.left()
    if left == 0:
        raise AppError(Code.UPSTREAM_TIMEOUT, "The request took longer than it may")
    if left >= total and not extra_seconds:
        return limits
    return aiohttp.ClientTimeout(
        total=min(total, left), connect=limits.connect, sock_read=(limits.sock_read or 0) + extra_seconds
    )


@lru_cache(maxsize=1024)
def _url(text: str) -> URL:
    return URL(text, encoded=True)


def _with_context(headers: Mapping[str, str] | None) -> CIMultiDict[str]:
    outgoing = CIMultiDict(headers or {})
    trace = tracing.current.get()
    if trace is not None:
        outgoing["traceparent"] = trace.traceparent
        outgoing["X-Request-ID"] = trace.request_id
        if trace.tracestate:
            outgoing["tracestate"] = trace.tracestate
    if (seconds := deadline.left()) != math.inf:
        outgoing[deadline.HEADER] = str(int(seconds * 1e3))
    return outgoing
