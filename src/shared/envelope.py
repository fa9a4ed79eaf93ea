"""The one JSON shape of every answer."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from shared.errors import AppError

_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC
_HIDDEN = "The request could not be completed; the logs tell why under this trace id"


@dataclass(frozen=True, slots=True)
class Page:
    """Where a list answer stands; `next` is the cursor of the next page, None on the last."""

    limit: int
    next: str | None


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
