"""What surrounds every request: its trace, its access line, and an envelope for whatever goes wrong."""

import time
from collections.abc import Awaitable, Callable
from types import MappingProxyType

import structlog
from aiohttp import web

from shared import tracing
from shared.errors import AppError, Code
from shared.metrics import METRICS
from shared.web.responses import refusal

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_QUIET = frozenset({"/health/live", "/health/ready", "/metrics"})
_HTTP_CODES = MappingProxyType(
    {
        404: (Code.NOT_FOUND, "No such path"),
        405: (Code.METHOD_NOT_ALLOWED, "The path does not take this method"),
        413: (Code.PAYLOAD_TOO_LARGE, "The body is larger than 64 KiB"),
        415: (Code.UNSUPPORTED_MEDIA_TYPE, "The media type is not supported"),
    }
)


@web.middleware
async def trace(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Outermost: continues or begins the trace, returns the request id, writes the one access line."""
    started = time.perf_counter()
    headers = request.headers
    here = tracing.begin(headers.get("traceparent"), headers.get("X-Request-ID"))
    tracing.current.set(here)
    response = await handler(request)
    response.headers["X-Request-ID"] = here.request_id
    _record(request, response.status, time.perf_counter() - started)
    return response


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The error boundary: nothing but a response leaves it, and only a bug is logged with its traceback."""
    try:
        return await handler(request)
    except AppError as error:
        if error.status >= 500:  # noqa: PLR2004  # the class of server errors, RFC 9110 §15.6
            log.warning("request failed", code=error.code, error=error.message, cause=repr(error.__cause__))
        return refusal(request, error)
    except web.HTTPException as error:
        if error.status < 400:  # noqa: PLR2004  # aiohttp raises redirects too; they are answers
            raise
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        code, message = _HTTP_CODES.get(error.status, (Code.INTERNAL_ERROR, error.reason))
        return refusal(request, AppError(code, message), allow)
    except Exception:
        log.exception("request crashed", method=request.method, path=request.path)
        return refusal(request, AppError(Code.INTERNAL_ERROR, "unexpected error"))


def _record(request: web.Request, status: int, seconds: float) -> None:
    resource = request.match_info.route.resource
    route = resource.canonical if resource else "(none)"
    METRICS.observe_request(request.method if resource else "(any)", route, status, seconds)
    write = log.debug if route in _QUIET else log.info
    write("request", method=request.method, path=request.path, status=status, duration_ms=round(seconds * 1e3, 2))
