"""Forwards a checked request to the service that answers it."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import aiohttp
import structlog
from aiohttp import web
from multidict import CIMultiDict, MultiMapping

from gateway.access.guard import CLIENT, KEY_NAME
from gateway.middleware import QUERY, route_of
from gateway.upstream.pool import Call, ServicePool
from gateway.waiting import Waiting
from shared import deadline
from shared.web import sse
from shared.web.client import Reply
from shared.web.headers import IDEMPOTENCY_KEY

log = structlog.get_logger()

SERVICES = web.AppKey("services", Mapping[str, ServicePool])
# That a request may take.
SECONDS = web.AppKey("seconds", float)
WAITING = web.AppKey("waiting", Waiting)

# What a service may see of a request, and a client of an answer. Everything else, hop-by-hop headers
# (RFC 9110 §7.6.1) included, ends here; trace headers are set anew by the client.
_REQUEST_HEADERS = ("Content-Type", IDEMPOTENCY_KEY, "If-Match", "Last-Event-ID", "tracestate")
_RESPONSE_HEADERS = ("Content-Type", "Location", "Retry-After", "ETag", "Link", "Allow", "Idempotency-Replayed")
# Seconds: that an answer takes longer than fewer tells nothing of the service.
_TELLING = 1.0
# Twice the time between two heartbeats, and some.
_QUIET = 35.0


async def forward(request: web.Request) -> web.StreamResponse:
    """The handler of every route in the table."""
    route = route_of(request)
    service = request.app[SERVICES][route.upstream]
    seconds = _seconds(request)
    call = Call(
        request.method,
        request.rel_url.raw_path_qs,  # also of a target in absolute form, RFC 9112 §3.2.2
        _headers(request),
        await request.read() if route.body is not None else None,
        patience=request[QUERY].get("wait", 0),
        hurried=seconds < min(_TELLING, request.app[SECONDS]),
    )
    if route.streamed:
        return await _stream(request, service, call)
    with deadline.until(seconds + call.patience):
        reply = await (_wait(request, service, call) if call.patience else service.request(call))
    return _response(reply.status, reply.headers, reply.body)


async def _wait(request: web.Request, service: ServicePool, call: Call) -> Reply:
    """If this process stops meanwhile, with what is known by then."""
    try:
        async with request.app[WAITING].request():
            return await service.request(call)
    except TimeoutError:
        target = request.rel_url.without_query_params("wait").raw_path_qs
        return await service.request(replace(call, target=target, patience=0))


async def _stream(request: web.Request, service: ServicePool, call: Call) -> web.StreamResponse:
    """Passes events on as they come; an answer that is no stream is passed on whole."""
    async with service.stream(call, _QUIET) as reply:
        if reply.content_type != sse.CONTENT_TYPE:
            return _response(reply.status, reply.headers, await reply.read())
        response = sse.stream()
        await response.prepare(request)
        try:
            async with request.app[WAITING].request():
                async for chunk in reply.content.iter_any():
                    await response.write(chunk)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            # Of either side, or this process stops: the client comes back with the id of the last event that it got.
            log.info("stream ended early", error=repr(error))
        return response


def _seconds(request: web.Request) -> float:
    """A client may ask for less time than it has, not for more."""
    asked = deadline.parse(request.headers.get(deadline.HEADER))
    limit = request.app[SECONDS]
    return limit if asked is None else min(asked, limit)


def _headers(request: web.Request) -> CIMultiDict[str]:
    headers = _only(_REQUEST_HEADERS, request.headers)
    if IDEMPOTENCY_KEY in headers and KEY_NAME in request:
        headers[IDEMPOTENCY_KEY] = _of_client(request[KEY_NAME], headers[IDEMPOTENCY_KEY])
    headers["X-Forwarded-For"] = request[CLIENT]
    headers["X-Forwarded-Host"] = request.host
    headers["X-Forwarded-Proto"] = request.scheme
    return headers


def _of_client(name: str, idempotency_key: str) -> str:
    """So that two clients that choose the same key do not get each other's answers; a new secret keeps its name."""
    text = f"{name} {idempotency_key}"  # no name has a space
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def _response(status: int, headers: MultiMapping[str], body: bytes) -> web.Response:
    return web.Response(body=body or None, status=status, headers=_only(_RESPONSE_HEADERS, headers))


def _only(names: tuple[str, ...], headers: MultiMapping[str]) -> CIMultiDict[str]:
    """But for those that `Connection` names: RFC 9110 §7.6.1."""
    passed = CIMultiDict((name, value) for name in names for value in headers.getall(name, ()))
    for value in headers.getall("Connection", ()):
        for option in value.split(","):
            passed.popall(option.strip(), None)
    return passed
