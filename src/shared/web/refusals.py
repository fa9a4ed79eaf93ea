"""Answers to what could not be read as a request, and so is seen by no application and none of its hooks."""

import re
from datetime import UTC, datetime
from types import MappingProxyType

import structlog
from aiohttp import web
from aiohttp.http_exceptions import BadStatusLine, ContentEncodingError, HttpProcessingError, LineTooLong

from shared import envelope, tracing
from shared.envelope import Origin
from shared.errors import AppError, Code
from shared.metrics import METRICS
from shared.web.peers import Limits
from shared.web.security import secure

log = structlog.get_logger()

_START = re.compile(rb"([A-Za-z-]{1,16}) (/[!->@-~]{0,63})")
_UNKNOWN = ("-", "-")
_LAST = MappingProxyType({"Connection": "close"})


class RefusedError(HttpProcessingError):
    """Of ours, in the place of the parser's."""

    def __init__(self, error: AppError) -> None:
        super().__init__(code=error.status, message=error.message)
        self.error = error


class _Response(web.Response):
    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        secure(self.headers)


def refuse(error: AppError, method: str, path: str) -> web.Response:
    """The last answer of its connection, with the one log line."""
    here = tracing.begin()
    tracing.current.set(here)
    METRICS.observe_request("(any)", "(none)", error.status, 0.0)
    log.info("request refused", method=method, path=path, status=error.status, code=error.code)
    response = _Response(
        body=envelope.failure(error, Origin(here.trace_id, path, datetime.now(UTC))),
        status=error.status,
        content_type="application/json",
        headers={**error.headers, **_LAST, "X-Request-ID": here.request_id},
    )
    response.force_close()
    return response


def excerpt(start: bytes) -> tuple[str, str]:
    """What of the start of a request may be logged: method and path, cut short, without the query."""
    match = _START.match(start)
    return (match[1].decode(), match[2].decode()) if match else _UNKNOWN


def error_from(error: HttpProcessingError, limits: Limits) -> AppError:
    """What a refusal by the parser is to a client: RFC 9110 §15, RFC 6585 §5."""
    if isinstance(error, RefusedError):
        return error.error
    if isinstance(error, LineTooLong) and error.args[1] == limits.line_bytes:
        return AppError(Code.URI_TOO_LONG, "The request target is too long")
    if isinstance(error, LineTooLong) or "Too many headers" in error.message:
        return AppError(Code.HEADERS_TOO_LARGE, "The headers are too many or too long")
    if isinstance(error, ContentEncodingError):
        return AppError(Code.UNSUPPORTED_MEDIA_TYPE, "The content coding is not supported")
    if "Pause on PRI" in error.message or (isinstance(error, BadStatusLine) and "HTTP version" in error.message):
        return AppError(Code.HTTP_VERSION_NOT_SUPPORTED, "The server speaks HTTP/1.1")
    return AppError(Code.VALIDATION_ERROR, "The request is not valid HTTP/1.1")


def bad_body() -> AppError:
    """Of a body whose end cannot be found any more."""
    return AppError(Code.VALIDATION_ERROR, "The body is not framed or encoded as it says", headers=_LAST)


def late_body() -> AppError:
    return AppError(Code.REQUEST_TIMEOUT, "The body did not arrive in time", headers=_LAST)
