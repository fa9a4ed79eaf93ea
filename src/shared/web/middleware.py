"""Surrounds every request: its trace, its access line, its limits, and an envelope for whatever goes wrong."""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware
from multidict import CIMultiDictProxy, istr

from shared import deadline, metrics, spans, tracing
from shared.errors import AppError, Code
from shared.web.connection import SAFE, Connection
from shared.web.head import problem
from shared.web.headers import REQUEST_ID, SERVICE_SECRET
from shared.web.health import HEALTH, ROUTES
from shared.web.requests import MAX_BODY
from shared.web.responses import MOST_PATH, error_of, refusal

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_CLIENT_GONE = 499  # as nginx logs it; no client sees it
_TRACEPARENT = istr("traceparent")
_TRACESTATE = istr("tracestate")
_UPGRADE = istr("Upgrade")
_CHALLENGE = {"WWW-Authenticate": 'Service-Secret realm="shop"'}
_OPERATIONAL = frozenset(route.path for route in ROUTES)


@web.middleware
async def trace(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Outermost: continues or begins the trace, returns the request id, writes the one access line."""
    connection = request.protocol
    if isinstance(connection, Connection):
        connection.begin(request)
    started = time.perf_counter()
    headers = request.headers
    here = _trace_of(headers)
    span = spans.NOTHING
    if request.path not in _OPERATIONAL:
        here, span = spans.recorder.request(here, request.method, request.path)
    tracing.current.set(here)
    with span:
        try:
            response = await handler(request)
        except asyncio.CancelledError:
            if request.transport is None:
                _record(request, _CLIENT_GONE, time.perf_counter() - started)
            raise
        if _UPGRADE in headers or request.app[HEALTH].draining:
            response.force_close()  # the parser may have lost what follows a declined upgrade
        response.headers[REQUEST_ID] = here.request_id
        _record(request, response.status, time.perf_counter() - started)
        return response


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The error boundary: nothing but a response leaves it, and only a bug is logged with its traceback."""
    malformed = problem(request.method, request.raw_path, request.version, request.headers, MAX_BODY)
    if malformed is not None:
        response = refusal(request, malformed)
        response.force_close()
        return response
    try:
        return await handler(request)
    except AppError as error:
        # An overloaded process refuses thousands of requests a second, without a cause: the access line is enough.
        is_failure = error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        if is_failure and (error.__cause__ or error.code is not Code.UNAVAILABLE):
            about = {"status": error.status, "code": error.code, "error": error.message}
            log.warning("request failed", **about, cause=repr(error.__cause__))
        return refusal(request, error)
    except web.HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST:  # aiohttp raises redirects too; they are answers
            raise
        return refusal(request, error_of(error))
    except Exception as error:
        if isinstance(error, OSError) and request.transport is None:  # the client left while it sent the body
            return web.Response(status=_CLIENT_GONE)
        log.exception("request crashed", method=request.method, path=request.path[:MOST_PATH])
        return refusal(request, AppError(Code.INTERNAL_ERROR))


def request_limits(most_in_flight: int, secrets: Sequence[str]) -> Middleware:
    """Raises UNAUTHORIZED without one of the secrets, if there are any, UNAVAILABLE past `most_in_flight`.

    Health and metrics are excepted. Ends a request at its deadline. What one that changes something has done by then
    is not known: it may be writing.
    """
    in_flight, known = 0, [secret.encode() for secret in secrets]
    if not secrets:
        log.warning("SERVICE_SECRET is not set: who reaches this port may do everything, without a key")

    @web.middleware
    async def limit(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal in_flight
        if request.path in _OPERATIONAL:
            return await handler(request)
        if known and not _has_secret(request, known):
            raise AppError(Code.UNAUTHORIZED, "Only the gateway and the services may ask here", headers=_CHALLENGE)
        if in_flight >= most_in_flight:
            raise AppError(Code.UNAVAILABLE, "The service is overloaded")
        in_flight += 1
        try:
            seconds = deadline.parse(request.headers.get(deadline.HEADER))
            if seconds is None:
                return await handler(request)
            with deadline.until(seconds) as when:
                async with asyncio.timeout_at(when) as timer:
                    return await handler(request)
        except TimeoutError as error:
            if seconds is None or not timer.expired():
                raise
            raise AppError(Code.UPSTREAM_TIMEOUT if request.method in SAFE else Code.OUTCOME_UNKNOWN) from error
        finally:
            in_flight -= 1

    return limit


def _trace_of(headers: CIMultiDictProxy[str]) -> tracing.Trace:
    """Two traceparents are as none, tracestates are one list: https://www.w3.org/TR/trace-context/.

    A tracestate that `Connection` lists was meant for this hop alone (RFC 9110 §7.6.1).
    """
    parents, states = headers.getall(_TRACEPARENT, ()), headers.getall(_TRACESTATE, ())
    if states and any(_TRACESTATE in listed.lower() for listed in headers.getall("Connection", ())):
        states = ()
    return tracing.begin(parents[0] if len(parents) == 1 else None, headers.get(REQUEST_ID), ",".join(states))


def _has_secret(request: web.Request, known: Sequence[bytes]) -> bool:
    """Compares each, so that the time does not show which one matched."""
    sent = request.headers.get(SERVICE_SECRET, "").encode(errors="surrogateescape")
    return sum(hmac.compare_digest(sent, secret) for secret in known) > 0


def _record(request: web.Request, status: int, seconds: float) -> None:
    """Counts the request and writes its access line; without a known route its method and path are no labels."""
    resource = request.match_info.route.resource
    method, route = (request.method, resource.canonical) if resource else ("(any)", "(none)")
    metrics.observe_request(method, route, status, seconds, tracing.here().trace_id)
    spans.recorder.answered(status, 500, method, route if resource else "")
    write = log.debug if route in _OPERATIONAL else log.info
    path, duration = request.path[:MOST_PATH], round(seconds * 1e3, 2)
    write("request", method=request.method, path=path, status=status, duration_ms=duration)
