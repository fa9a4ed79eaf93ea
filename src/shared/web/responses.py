"""Writes every answer and every refusal, in the one envelope."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import orjson
import structlog
from aiohttp import web
from multidict import CIMultiDict, istr

from shared import tracing
from shared.errors import AppError
from shared.metrics import METRICS
from shared.pagination import Page

_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC
_HIDDEN = "The request could not be completed; the logs tell why under this trace id"


@dataclass(frozen=True, slots=True)
class Origin:
    """What every envelope says of the request that it answers."""

    trace_id: str
    path: str
    now: datetime


def success(status: int, data: Any, origin: Origin, page: Page | None = None) -> bytes:
    """`data` is anything orjson writes, `orjson.Fragment` of ready JSON included."""
    body: dict[str, Any] = {"statusCode": status, "data": data}
    if page is not None:
        body["page"] = {"limit": page.limit, "next": page.next}
    return _finish(body, origin)


def failure(error: AppError, origin: Origin) -> bytes:
    """Messages of 5xx errors other than `unavailable` and upstream ones are for the log only."""
    message = _HIDDEN if error.status == 500 else error.message  # noqa: PLR2004  # 500 is its own name
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


def _finish(body: dict[str, Any], origin: Origin) -> bytes:
    body["traceId"] = origin.trace_id
    body["timestamp"] = origin.now
    body["path"] = origin.path
    return orjson.dumps(body, option=_OPTIONS)


_JSON = "application/json"


def answer(
    request: web.Request,
    data: Any,
    *,
    status: int = 200,
    page: Page | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """A list with a next page has its address in `Link` too (RFC 8288)."""
    body = success(status, data, _origin(request), page)
    response = web.Response(body=body, status=status, content_type=_JSON, headers=headers)
    if page is not None and page.next is not None:
        response.headers["Link"] = f'<{request.rel_url.update_query(cursor=page.next).raw_path_qs}>; rel="next"'
    return response


def refusal(request: web.Request, error: AppError, headers: Mapping[str, str] | None = None) -> web.Response:
    """The answer to a request that failed; `Retry-After` (RFC 9110 §10.2.3) where the error has one."""
    response = web.Response(
        body=failure(error, _origin(request)),
        status=error.status,
        content_type=_JSON,
        headers={**error.headers, **(headers or {})},
    )
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def _origin(request: web.Request) -> Origin:
    trace = tracing.current.get() or tracing.begin()
    return Origin(trace.trace_id, request.path, datetime.now(UTC))


log = structlog.get_logger()

_LAST = MappingProxyType({"Connection": "close"})


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
        body=failure(error, Origin(here.trace_id, path, datetime.now(UTC))),
        status=error.status,
        content_type="application/json",
        headers={**error.headers, **_LAST, "X-Request-ID": here.request_id},
    )
    response.force_close()
    return response


DEFAULTS = MappingProxyType(
    {
        istr("X-Content-Type-Options"): "nosniff",
        istr("Cache-Control"): "no-store",
        istr("Content-Security-Policy"): "default-src 'none'; frame-ancestors 'none'",
        istr("Referrer-Policy"): "no-referrer",
    }
)
_SERVER = istr("Server")


def secure(headers: CIMultiDict[str]) -> None:
    """What a handler has set itself stays; the name of the server software goes."""
    for name, value in DEFAULTS.items():
        headers.setdefault(name, value)
    headers.pop(_SERVER, None)


async def on_prepare(_request: web.Request, response: web.StreamResponse) -> None:
    """For `on_response_prepare`: of streams too."""
    secure(response.headers)
