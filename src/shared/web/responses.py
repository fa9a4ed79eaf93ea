"""Writes every answer and every refusal, in the one envelope and with the security headers."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import orjson
from aiohttp import web
from multidict import CIMultiDict, istr

from shared import tracing
from shared.errors import AppError, Code
from shared.pagination import Page

# Marks the last answer of a connection: RFC 9112 §9.6.
LAST = MappingProxyType({"Connection": "close"})

_JSON = "application/json"
_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC
_HIDDEN = "The request could not be completed; the logs tell why under this trace id"
_SERVER = istr("Server")
_SECURITY = MappingProxyType(
    {
        istr("X-Content-Type-Options"): "nosniff",
        istr("Cache-Control"): "no-store",
        istr("Content-Security-Policy"): "default-src 'none'; frame-ancestors 'none'",
        istr("Referrer-Policy"): "no-referrer",
    }
)
# The reason phrases of RFC 9110 §15 that Python has only since 3.13: an answer must not depend on its version.
_REASONS = MappingProxyType({413: "Content Too Large", 414: "URI Too Long", 422: "Unprocessable Content"})
_REFUSED_BY_AIOHTTP = MappingProxyType(
    {
        404: (Code.NOT_FOUND, "No such path"),
        405: (Code.METHOD_NOT_ALLOWED, Code.METHOD_NOT_ALLOWED.meaning),
        413: (Code.PAYLOAD_TOO_LARGE, "The body is larger than 64 KiB"),
        415: (Code.UNSUPPORTED_MEDIA_TYPE, Code.UNSUPPORTED_MEDIA_TYPE.meaning),
        417: (Code.VALIDATION_ERROR, "The expectation cannot be met"),
    }
)


@dataclass(frozen=True, slots=True)
class Origin:
    """The request that an envelope answers."""

    trace_id: str
    path: str
    now: datetime


def answer(
    request: web.Request,
    data: Any,
    *,
    status: int = 200,
    page: Page | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Writes the address of the next page of a list into `Link` too (RFC 8288)."""
    body = success(status, data, _origin(request.path), page)
    response = web.Response(body=body, status=status, content_type=_JSON, headers=headers)
    if page is not None and page.next is not None:
        response.headers["Link"] = f'<{request.rel_url.update_query(cursor=page.next).raw_path_qs}>; rel="next"'
    return response


def refusal(
    request: web.BaseRequest,
    error: AppError,
    headers: Mapping[str, str] | None = None,
    *,
    path: str | None = None,
) -> web.Response:
    """The one answer to a request that failed, with `Retry-After` (RFC 9110 §10.2.3) if the error has one.

    `path` is shown instead of the request's, if the request could not be parsed.
    """
    response = web.Response(
        body=failure(error, _origin(request.path if path is None else path)),
        status=error.status,
        reason=_REASONS.get(error.status),
        content_type=_JSON,
        headers={**error.headers, **(headers or {})},
    )
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def success(status: int, data: Any, origin: Origin, page: Page | None = None) -> bytes:
    """`data` is anything that orjson writes, ready JSON as an `orjson.Fragment` included."""
    body: dict[str, Any] = {"statusCode": status, "data": data}
    if page is not None:
        body["page"] = {"limit": page.limit, "next": page.next}
    return _finish(body, origin)


def failure(error: AppError, origin: Origin) -> bytes:
    """Shows the message of an error, except that of a 500, which is for the log only."""
    message = _HIDDEN if error.status == HTTPStatus.INTERNAL_SERVER_ERROR else error.message
    shown: dict[str, Any] = {"code": error.code, "message": message}
    if error.details:
        shown["details"] = [{"field": detail.field, "message": detail.message} for detail in error.details]
    return _finish({"statusCode": error.status, "data": None, "error": shown}, origin)


def is_envelope(status: int, content: Any) -> bool:
    """Whether parsed JSON is an envelope for an answer of this status."""
    return (
        isinstance(content, dict)
        and content.get("statusCode") == status
        and "data" in content
        and isinstance(content.get("traceId"), str)
    )


def error_of(error: web.HTTPException) -> AppError:
    """Maps what aiohttp raised to the error that the client sees."""
    code, message = _REFUSED_BY_AIOHTTP.get(error.status, (Code.INTERNAL_ERROR, Code.INTERNAL_ERROR.meaning))
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return AppError(code, message, headers=headers)


async def on_prepare(_request: web.Request, response: web.StreamResponse) -> None:
    """Sets the security headers of every response, streams included; receives `on_response_prepare`."""
    _secure(response.headers)


async def send_unrouted(request: web.BaseRequest, response: web.Response) -> None:
    """Sends an answer that reached no application, for which aiohttp does not send `on_response_prepare`."""
    body = response.body if isinstance(response.body, bytes) else b""
    _secure(response.headers)
    response.headers["Content-Length"] = str(len(body))
    response.headers["Date"] = format_datetime(datetime.now(UTC), usegmt=True)
    major, minor = request.version
    await request.writer.write_headers(f"HTTP/{major}.{minor} {response.status} {response.reason}", response.headers)
    await request.writer.write_eof(b"" if request.method == "HEAD" else body)


def _secure(headers: CIMultiDict[str]) -> None:
    """Keeps what a handler has set itself, and hides the name of the server software."""
    for name, value in _SECURITY.items():
        headers.setdefault(name, value)
    headers.pop(_SERVER, None)


def _origin(path: str) -> Origin:
    trace = tracing.current.get() or tracing.begin()
    return Origin(trace.trace_id, path, datetime.now(UTC))


def _finish(body: dict[str, Any], origin: Origin) -> bytes:
    body["traceId"] = origin.trace_id
    body["timestamp"] = origin.now
    body["path"] = origin.path
    return orjson.dumps(body, option=_OPTIONS)
