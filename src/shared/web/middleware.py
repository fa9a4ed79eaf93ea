"""What surrounds every request: its trace, its access line, and an envelope for whatever goes wrong."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import MappingProxyType

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware
from multidict import istr

from shared import deadline, tracing
from shared.errors import AppError, Code
from shared.metrics import METRICS
from shared.web.head import problem
from shared.web.health import ROUTES
from shared.web.requests import MAX_BODY
from shared.web.responses import refusal

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110 §9.2.1
_CLIENT_GONE = 499  # as nginx logs it; nobody sees it
_UPGRADE = istr("Upgrade")
_QUIET = frozenset({"/health/live", "/health/ready", "/metrics"})
_HTTP_CODES = MappingProxyType(
    {
        404: (Code.NOT_FOUND, "No such path"),
        405: (Code.METHOD_NOT_ALLOWED, "The path does not take this method"),
        413: (Code.PAYLOAD_TOO_LARGE, "The body is larger than 64 KiB"),
        415: (Code.UNSUPPORTED_MEDIA_TYPE, "The media type is not supported"),
        417: (Code.VALIDATION_ERROR, "The expectation cannot be met"),
    }
)


@web.middleware
async def trace(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Outermost: continues or begins the trace, returns the request id, writes the one access line."""
    started = time.perf_counter()
    headers = request.headers
    here = tracing.begin(headers.get("traceparent"), headers.get("X-Request-ID"))
    tracing.current.set(here)
    try:
        response = await handler(request)
    except asyncio.CancelledError:
        if request.transport is None:
            _record(request, _CLIENT_GONE, time.perf_counter() - started)
        raise
    if _UPGRADE in headers:
        response.force_close()  # where it is declined, the parser may have lost what came after
    response.headers["X-Request-ID"] = here.request_id
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
        # For want of room there is no cause, and the access line is enough: there may be thousands a second.
        is_failure = error.status >= 500  # noqa: PLR2004  # the class of server errors, RFC 9110 §15.6
        if is_failure and (error.__cause__ or error.code is not Code.UNAVAILABLE):
            log.warning("request failed", code=error.code, error=error.message, cause=repr(error.__cause__))
        return refusal(request, error)
    except web.HTTPException as error:
        if error.status < 400:  # noqa: PLR2004  # aiohttp raises redirects too; they are answers
            raise
        return refusal(request, error_of(error))
    except Exception as error:
        if isinstance(error, OSError) and request.transport is None:  # while it was sending the body
            return web.Response(status=_CLIENT_GONE)
        log.exception("request crashed", method=request.method, path=request.path)
        return refusal(request, AppError(Code.INTERNAL_ERROR, "unexpected error"))


def error_of(error: web.HTTPException) -> AppError:
    """What aiohttp itself refuses, as an error of ours."""
    code, message = _HTTP_CODES.get(error.status, (Code.INTERNAL_ERROR, error.reason))
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return AppError(code, message, headers=headers)


def _record(request: web.Request, status: int, seconds: float) -> None:
    resource = request.match_info.route.resource
    route = resource.canonical if resource else "(none)"
    record(request.method, request.path, status, seconds, route=route, known=resource is not None)


def record(method: str, path: str, status: int, seconds: float, *, route: str, known: bool = True) -> None:
    """The metrics and the access line of a request; one of no known route counts for no method either."""
    METRICS.observe_request(method if known else "(any)", route, status, seconds)
    write = log.debug if route in _QUIET else log.info
    write("request", method=method, path=path, status=status, duration_ms=round(seconds * 1e3, 2))


_NEVER_REFUSED = frozenset(route.path for route in ROUTES)


def request_limits(most_in_flight: int) -> Middleware:
    """Past `most_in_flight` raises UNAVAILABLE, for health and metrics never; a request ends with its deadline."""
    in_flight = 0

    @web.middleware
    async def limit(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal in_flight
        if request.path in _NEVER_REFUSED:
            return await handler(request)
        if in_flight >= most_in_flight:
            raise AppError(Code.UNAVAILABLE, "The service has too much to do", retry_after=1)
        in_flight += 1
        try:
            seconds = deadline.parse(request.headers.get(deadline.HEADER))
            if seconds is None:
                return await handler(request)
            async with deadline.within(seconds):
                return await handler(request)
        finally:
            in_flight -= 1

    return limit
