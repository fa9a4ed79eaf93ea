"""Calls another service: explicit limits, the trace handed on, every failure mapped to a code."""

import asyncio
import math
import random
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from shared import deadline, spans, tracing
from shared.errors import AppError, Code
from shared.web.connection import SAFE
from shared.web.exchange import Exchange, Reply
from shared.web.headers import SERVICE_SECRET


@asynccontextmanager
async def service_clients(
    limits: aiohttp.ClientTimeout, secrets: Sequence[str] = ()
) -> AsyncIterator[Callable[[str, str], "ServiceClient"]]:
    """Makes clients from the name and the base URL of a service, and closes their connections at the end.

    `limits` has seconds for the whole call, and for a connection. Calls carry the first of `secrets`.
    """
    async with AsyncExitStack() as opened:
        streams = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        )
        await opened.enter_async_context(streams)

        def client(name: str, base_url: str) -> ServiceClient:
            made = ServiceClient(name, base_url, limits, secrets, streams)
            opened.callback(made.close)
            return made

        yield client


class ServiceClient:
    """Calls one service at one address: no redirects, bodies passed on as they come. Its connections are kept."""

    def __init__(
        self,
        name: str,
        base_url: str,
        limits: aiohttp.ClientTimeout,
        secrets: Sequence[str],
        streams: aiohttp.ClientSession,
    ) -> None:
        url = URL(base_url)
        self.name = name
        self._origin = url.origin()
        self._address = url.host or "", url.port or 0
        self._path = url.raw_path.rstrip("/")
        self._server: dict[str, str | int] = {"server.address": self._address[0], "server.port": self._address[1]}
        self._url = f"{self._origin}{self._path}"
        self._tls = ssl.create_default_context() if url.scheme == "https" else None
        self._limits = limits
        self._fixed = [
            ("Host", str(url.host_port_subcomponent)),
            *((SERVICE_SECRET, secret) for secret in secrets[:1]),
        ]
        self._streams = streams
        self._idle: list[Exchange] = []

    def close(self) -> None:
        for exchange in tuple(self._idle):
            exchange.close()

    async def request(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        extra_seconds: float = 0.0,
    ) -> Reply:
        """`target` is an encoded path with its query; `extra_seconds` are added to the limit of the call.

        The call ends with the deadline of the request that it serves. It is sent once.

        Raises AppError: UNAVAILABLE if no connection could be made, UPSTREAM_TIMEOUT past a limit,
        UPSTREAM_ERROR if the answer broke off or was not HTTP.
        """
        left = deadline.left()
        if left == 0:
            raise AppError(Code.UPSTREAM_TIMEOUT, "The request took longer than it may")
        seconds = min((self._limits.total or math.inf) + extra_seconds, left)
        until = time.monotonic() + seconds
        url = self._url + target.partition("?")[0]  # a query may tell of persons
        with spans.recorder.span(method, {**self._server, "http.request.method": method, "url.full": url}):
            message = self._message(method, target, headers, body)
            try:
                exchange = self._idle.pop() if self._idle else await self._connect(seconds)
                reply = await exchange.send(message, is_head=method == "HEAD", until=until)
            except OSError as error:
                raise self._failure(error) from error
            spans.recorder.answered(reply.status, 400)
            return reply

    @asynccontextmanager
    async def stream(
        self, method: str, target: str, *, headers: Mapping[str, str] | None = None, quiet: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer without an end, with at most `quiet` seconds between its pieces. Raises what `request` raises."""
        limits = aiohttp.ClientTimeout(total=None, connect=self._limits.connect, sock_read=quiet)
        outgoing: CIMultiDict[str] = CIMultiDict([*self._fixed, *(headers or {}).items(), *_context()])
        try:
            url = URL(f"{self._origin}{self._path}{target}", encoded=True)
            async with self._streams.request(
                method, url, headers=outgoing, allow_redirects=False, timeout=limits
            ) as response:
                yield response
        except aiohttp.ClientResponseError as error:  # its repr shows the headers, and so the secret
            raise self._failure(error) from aiohttp.ClientError(str(error))
        except (aiohttp.ClientError, OSError) as error:
            raise self._failure(error) from error

    async def _connect(self, seconds: float) -> Exchange:
        """Raises ConnectionRefusedError, or TimeoutError if the call has less time than a connection."""
        limit, loop = self._limits.connect or math.inf, asyncio.get_running_loop()
        try:
            async with asyncio.timeout(min(limit, seconds)) as timeout:
                found = await loop.getaddrinfo(*self._address, type=socket.SOCK_STREAM)
                random.shuffle(found)  # the resolver has the nearest first, and of replicas none is to be preferred
                while True:
                    host, name = str(found.pop()[-1][0]), self._address[0] if self._tls else None
                    with suppress(OSError) if found else nullcontext():
                        _, exchange = await loop.create_connection(
                            lambda: Exchange(self._idle), host, self._address[1], ssl=self._tls, server_hostname=name
                        )
                        return exchange
        except OSError as error:
            if timeout.expired() and seconds < limit:
                raise
            raise ConnectionRefusedError(repr(error)) from error

    def _message(self, method: str, target: str, headers: Mapping[str, str] | None, body: bytes | None) -> bytes:
        """Raises ValueError if a line holds what would end it. Other bytes stay as a parser has read them."""
        fields = [*self._fixed, *(headers or {}).items(), *_context()]
        if body is not None or method not in SAFE:
            fields.append(("Content-Length", str(len(body or b""))))  # RFC 9110 §8.6
        head = "\r\n".join([f"{method} {self._path}{target} HTTP/1.1", *map(": ".join, fields), "\r\n"])
        if not head.count("\r") == head.count("\n") == len(fields) + 2 or "\0" in head:
            raise ValueError("A header holds a line break or NUL")
        return head.encode(errors="surrogateescape") + (body or b"")

    def _failure(self, error: Exception) -> AppError:
        if isinstance(error, (ConnectionRefusedError, aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError)):
            return AppError(Code.UNAVAILABLE, f"{self.name} cannot be reached")
        if isinstance(error, TimeoutError):
            return AppError(Code.UPSTREAM_TIMEOUT, f"{self.name} did not answer in time")
        return AppError(Code.UPSTREAM_ERROR, f"{self.name} gave no usable answer")


def _context() -> list[tuple[str, str]]:
    """What a service is told of the request that it is called for."""
    fields = []
    if trace := tracing.current.get():
        fields += [("traceparent", spans.recorder.caller(trace).traceparent), ("X-Request-ID", trace.request_id)]
        if trace.tracestate:
            fields.append(("tracestate", trace.tracestate))
    if (seconds := deadline.left()) != math.inf:
        fields.append((deadline.HEADER, str(int(seconds * 1e3))))
    return fields
