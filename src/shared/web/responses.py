"""Writes every answer and every refusal, in the one envelope and with the security headers."""

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import orjson
from aiohttp import web
from multidict import istr

from shared import tracing
from shared.errors import AppError, Code
from shared.pagination import Page

MOST_PATH = 256  # characters that an answer or a log line shows
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
        405: (Code.METHOD_NOT_ALLOWED, ""),
        413: (Code.PAYLOAD_TOO_LARGE, "The body is larger than 64 KiB"),
        417: (Code.VALIDATION_ERROR, "The expectation cannot be met"),
    }
)


def answer(
    request: web.Request,
    data: Any,
    *,
    status: int = 200,
    page: Page | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """`data` is anything that orjson writes; the address of a list's next page is in `Link` too (RFC 8288)."""
    content: dict[str, Any] = {"statusCode": status, "data": data}
    if page is not None:
        content["page"] = {"limit": page.limit, "next": page.next}
    body = _envelope(content, request.path)
    response = web.Response(body=body, status=status, content_type=_JSON, headers=headers)
    if page is not None and page.next is not None:
        response.headers["Link"] = f'<{request.rel_url.update_query(cursor=page.next).raw_path_qs}>; rel="next"'
    return response


def refusal(request: web.BaseRequest, error: AppError, path: str | None = None) -> web.Response:
    """The one answer to a request that failed, with `Retry-After` (RFC 9110 §10.2.3) if the error has one.

    It shows the message of an error, except that of a 500, which is for the log only. `path` is shown instead of the
    request's, if the request could not be parsed.
    """
    message = _HIDDEN if error.status == HTTPStatus.INTERNAL_SERVER_ERROR else error.message
    shown: dict[str, Any] = {"code": error.code, "message": message}
    if error.details:
        shown["details"] = [{"field": detail.field, "message": detail.message} for detail in error.details]
    content = {"statusCode": error.status, "data": None, "error": shown}
    response = web.Response(
        body=_envelope(content, request.path if path is None else path),
        status=error.status,
        reason=_REASONS.get(error.status),
        content_type=_JSON,
        headers=error.headers,
    )
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def is_written(status: int, body: bytes) -> bool:
    """Whether both ends of the bytes are those of an envelope of this status that a service has written."""
    start, end = b'{"statusCode":%d,"data":' % status, b'"}'
    return body.startswith(start) and body.endswith(end) and body.rfind(b',"traceId":"') > 0


def error_of(error: web.HTTPException) -> AppError:
    """Maps what aiohttp raised to the error that the client sees."""
    code, message = _REFUSED_BY_AIOHTTP.get(error.status, (Code.INTERNAL_ERROR, ""))
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return AppError(code, message, headers=headers)


async def on_prepare(_request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Sets the security headers of a response that its handler has not set, and hides the name of the server software.

    Receives `on_response_prepare`, so it sees streams too.
    """
    headers = response.headers
    for name, value in _SECURITY.items():
        headers.setdefault(name, value)
    headers.pop(_SERVER, None)


def _envelope(content: dict[str, Any], path: str) -> bytes:
    origin = {"traceId": tracing.here().trace_id, "timestamp": datetime.now(UTC), "path": path[:MOST_PATH]}
    return orjson.dumps(content | origin, option=_OPTIONS)
