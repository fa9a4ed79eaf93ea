"""Writes answers in the one envelope."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from shared import envelope, tracing
from shared.envelope import Origin, Page
from shared.errors import AppError

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
    body = envelope.success(status, data, _origin(request), page)
    response = web.Response(body=body, status=status, content_type=_JSON, headers=headers)
    if page is not None and page.next is not None:
        response.headers["Link"] = f'<{request.rel_url.update_query(cursor=page.next).raw_path_qs}>; rel="next"'
    return response


def refusal(request: web.Request, error: AppError, headers: Mapping[str, str] | None = None) -> web.Response:
    """The answer to a request that failed; `Retry-After` (RFC 9110 §10.2.3) where the error has one."""
    response = web.Response(
        body=envelope.failure(error, _origin(request)),
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
