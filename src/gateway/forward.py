"""The way of a forwarded request: its checks, the service that answers it, and the one envelope."""

import asyncio
import hashlib
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import aiohttp
import structlog
from aiohttp import HttpVersion11, web
from marshmallow import Schema
from multidict import CIMultiDict, MultiMapping, istr

from gateway import metrics
from gateway.access.guard import CLIENT, COUNTED_FOR, KEY_NAME
from gateway.headers import FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO, PASSED, RETURNED
from gateway.routes import Route
from gateway.upstream.pool import SERVICES, Call, ServicePool
from shared import deadline
from shared.errors import AppError, Code, invalid_field
from shared.shares import Shares
from shared.web import sse
from shared.web.connection import SAFE
from shared.web.exchange import Reply
from shared.web.headers import IDEMPOTENCY_KEY, IF_MATCH, IF_NONE_MATCH, read_idempotency_key, read_if_match
from shared.web.requests import MAX_BODY, holds_back, read_json, read_path, read_query
from shared.web.responses import is_written

log = structlog.get_logger()

# Seconds: a service that does not answer within a shorter deadline has not failed.
_FAIR_DEADLINE = 1.0
# Pages share no work with others, so a service needs only a few at once to be busy, and others wait behind them.
_ITEMS_OF_A_SLOT = 4
_CONNECTION = istr("Connection")
_NO_BODY = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)  # RFC 9110 §15.3.5, §15.4.5
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# Seconds without a byte after which a stream is broken: a little more than two heartbeats.
_QUIET = 35.0


class Waiting:
    """The requests that wait for an event of an order. Closing it ends every wait, so that the process can stop."""

    def __init__(self) -> None:
        self._timeouts: set[asyncio.Timeout] = set()
        self._closed_at: float | None = None

    @asynccontextmanager
    async def request(self) -> AsyncIterator[None]:
        """Raises TimeoutError when the process stops, and at no other time."""
        async with asyncio.timeout_at(self._closed_at) as timeout:
            self._timeouts.add(timeout)
            try:
                yield
            finally:
                self._timeouts.discard(timeout)

    async def close(self, _app: web.Application) -> None:
        """Receives `on_shutdown`, which comes before the server waits for its last requests."""
        self._closed_at = asyncio.get_running_loop().time()
        for timeout in self._timeouts:
            timeout.reschedule(self._closed_at)


# The seconds that a request may take.
SECONDS = web.AppKey("seconds", float)
WAITING = web.AppKey("waiting", Waiting)
# Bytes of bodies that are being read.
BODIES = web.AppKey("bodies", Shares)


async def forward(route: Route, request: web.Request) -> web.StreamResponse:
    """The handler of every route in the table. An overloaded service is spared before the body is read."""
    service = request.app[SERVICES][route.upstream]
    service.admission.refuse_if_full(request[COUNTED_FOR])
    query = await _check(route, request)
    seconds = _seconds(request)
    call = Call(
        request.method,
        request.rel_url.raw_path_qs,  # the path also of a target in absolute form, RFC 9112 §3.2.2
        _headers(request),
        request[COUNTED_FOR],
        await request.read() if route.body is not None else None,
        extra_seconds=math.inf if route.streamed else query.get("wait", 0),
        short_deadline=not route.streamed and seconds < min(_FAIR_DEADLINE, request.app[SECONDS]),
        slots=1 + (len(query.get("ids") or ()) or query.get("limit", 0)) // _ITEMS_OF_A_SLOT,
    )
    if route.streamed:
        return await _stream(request, service, call)
    with deadline.until(seconds + call.extra_seconds):
        reply = await (_wait(request, service, call) if call.extra_seconds else service.request(call))
    return _answer(request, reply)


async def expectation(request: web.Request) -> None:
    """`_read_body` sends 100 Continue: a client refused by its head need not send the body (RFC 9110 §10.1.1)."""
    if request.version >= HttpVersion11 and request.headers["Expect"].lower() != "100-continue":
        raise web.HTTPExpectationFailed


async def _check(route: Route, request: web.Request) -> dict[str, Any]:
    """Checks path, query, headers and body by the route's schemas, before anything is forwarded; returns the query."""
    read_path(request)
    query = read_query(request, route.query)
    for read in route.headers:
        read(request)
    _refuse_unread(route, request)
    if route.body is not None:
        await _read_body(request, route.body)
    return query


async def _read_body(request: web.Request, schema: Schema) -> None:
    """A body that has not come with its head needs room for all of it, so that slow senders cannot fill the memory."""
    client, bodies = request[COUNTED_FOR], request.app[BODIES]
    size = 0 if request.content.is_eof() else request.content_length or MAX_BODY
    if size and not bodies.take(client, size):
        metrics.REFUSED.labels("bodies").inc()
        raise AppError(Code.UNAVAILABLE, "Too many bodies are on their way")
    try:
        if holds_back(request):
            await request.writer.write(_CONTINUE)
            request.writer.output_size = 0  # the interim response is not a part of the answer
        await read_json(request, schema)
    finally:
        if size:
            bodies.give_back(client, size)


def _refuse_unread(route: Route, request: web.Request) -> None:
    """A condition that is passed over lets through what the client has forbidden (RFC 9110 §13.1.1, §13.1.2).

    So does a key, if a repeated PATCH undoes what others have changed since; a POST that takes none may be repeated.
    """
    if IF_MATCH in request.headers and read_if_match not in route.headers:
        raise invalid_field(IF_MATCH, "This request takes none.")
    if IF_NONE_MATCH in request.headers and route.method not in SAFE:
        raise invalid_field(IF_NONE_MATCH, "This request takes none.")
    if route.method == "PATCH" and IDEMPOTENCY_KEY in request.headers and read_idempotency_key not in route.headers:
        raise invalid_field(IDEMPOTENCY_KEY, "This request takes none.")


async def _wait(request: web.Request, service: ServicePool, call: Call) -> Reply:
    """If this process stops meanwhile, the service is asked once more, without waiting."""
    try:
        async with request.app[WAITING].request():
            return await service.request(call)
    except TimeoutError:
        target = request.rel_url.without_query_params("wait").raw_path_qs
        return await service.request(replace(call, target=target, extra_seconds=0))


async def _stream(request: web.Request, service: ServicePool, call: Call) -> web.StreamResponse:
    """Passes events on as they come; an answer that is not a stream is passed on whole."""
    async with service.stream(call, _QUIET) as reply:
        if reply.content_type != sse.CONTENT_TYPE:
            return _answer(request, Reply(reply.status, reply.headers, await reply.read()))
        response = sse.stream()
        await response.prepare(request)
        try:
            async with request.app[WAITING].request():
                async for chunk in reply.content.iter_any():
                    await response.write(chunk)
        except (aiohttp.ClientError, OSError) as error:
            # The client returns with the id of its last event.
            log.info("stream ended early", error=repr(error))
            if type(error) is not TimeoutError:  # which says that this process stops
                sse.break_off(request)
        return response


def _seconds(request: web.Request) -> float:
    """A client may ask for less time than the limit, not for more."""
    asked = deadline.parse(request.headers.get(deadline.HEADER))
    limit = request.app[SECONDS]
    return limit if asked is None else min(asked, limit)


def _headers(request: web.Request) -> CIMultiDict[str]:
    headers = _only(PASSED, request.headers)
    if IDEMPOTENCY_KEY in headers and KEY_NAME in request:
        headers[IDEMPOTENCY_KEY] = _key_of_client(request[KEY_NAME], headers[IDEMPOTENCY_KEY])
    headers[FORWARDED_FOR] = request[CLIENT]
    headers[FORWARDED_HOST] = request.host
    headers[FORWARDED_PROTO] = request.scheme
    return headers


def _key_of_client(name: str, idempotency_key: str) -> str:
    """Keeps apart two clients that choose the same key. It depends on the API key's name, not on its secret."""
    text = f"{name} {idempotency_key}"  # a name contains no space
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def _answer(request: web.Request, reply: Reply) -> web.Response:
    """A service's envelope passes byte for byte; anything else, as a proxy's page, becomes a 502."""
    if reply.status == HTTPStatus.UNAUTHORIZED:  # the secrets differ, which is no fault of the client's
        raise AppError(Code.UPSTREAM_ERROR, "The service does not let the gateway in")
    if not (request.method == "HEAD" or reply.status in _NO_BODY or is_written(reply.status, reply.body)):
        raise AppError(Code.UPSTREAM_ERROR)
    return web.Response(body=reply.body or None, status=reply.status, headers=_only(RETURNED, reply.headers))


def _only(names: tuple[str, ...], headers: MultiMapping[str]) -> CIMultiDict[str]:
    """Drops also those of `names` that the `Connection` header lists (RFC 9110 §7.6.1)."""
    passed = CIMultiDict([(name, value) for name in names if name in headers for value in headers.getall(name)])
    for value in headers.getall(_CONNECTION, ()):
        for option in value.split(","):
            passed.popall(option.strip(), None)
    return passed
