"""What a dead letter tells of itself: decided without any I/O, from bytes that anybody may have sent."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from pamqp.commands import Basic

from shared import tracing
from shared.messaging import cloudevents
from shared.messaging.cloudevents import Event

_ID_DIGITS = 16


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """`event_type`, `event_id` and `trace_id` are the first readable event's, `events` how many are readable.

    `time` is when it became a dead letter, None for one that does not tell.
    """

    id: str
    queue: str
    event_type: str | None
    event_id: str | None
    events: int
    reason: str | None
    error: str | None
    trace_id: str | None
    time: datetime | None

    def as_json(self) -> dict[str, Any]:
        fields = asdict(self)
        renamed = {"event_type": "eventType", "event_id": "eventId", "trace_id": "traceId"}
        return {renamed.get(name, name): value for name, value in fields.items()}


def describe(queue: str, properties: Basic.Properties, body: bytes) -> DeadLetter:
    headers = properties.headers or {}
    death = _first_death(headers)
    events = [element for element in cloudevents.decode(body) if isinstance(element, Event)]
    first = events[0] if events else None
    traceparent = _text(headers.get("traceparent")) or (first.traceparent if first else None)
    return DeadLetter(
        id=identify(queue, properties, body),
        queue=queue,
        event_type=first.type if first else None,
        event_id=first.id if first else None,
        events=len(events),
        reason=_text(headers.get("x-reason")) or _text(death.get("reason")),
        error=_text(headers.get("x-error")) or (f"dead-lettered by the broker, {_count(death)}" if death else None),
        trace_id=tracing.trace_id_of(traceparent),
        time=_time(death.get("time")) or _time(properties.timestamp),
    )


def identify(queue: str, properties: Basic.Properties, body: bytes) -> str:
    """The same in every run; two letters share it only if queue, message id and every byte of the body are equal.

    The message id alone would not do: a foreign sender may leave it out, repeat it, or put anything into it.
    """
    digest = hashlib.sha256()
    for part in (queue.encode(), str(properties.message_id or "").encode(errors="replace"), body):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:_ID_DIGITS]


def content(properties: Basic.Properties, body: bytes) -> dict[str, Any]:
    """What `show` adds: the body as text, or in base64 if it is none."""
    shown: dict[str, Any] = {
        "messageId": _text(properties.message_id),
        "contentType": _text(properties.content_type),
        "headers": _jsonable(properties.headers or {}),
    }
    try:
        return {**shown, "body": body.decode()}
    except UnicodeDecodeError:
        return {**shown, "bodyBase64": base64.b64encode(body).decode()}


def _first_death(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    """The broker's own note, the latest first: https://www.rabbitmq.com/docs/dlx#effects."""
    deaths = headers.get("x-death")
    if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict):
        return deaths[0]
    return {}


def _count(death: Mapping[str, Any]) -> str:
    count = death.get("count")
    return "once" if count in (None, 1) else f"{count} times"


def _time(value: object) -> datetime | None:
    return value if isinstance(value, datetime) else None


def _text(value: object) -> str | None:
    """None for nothing and for an empty text."""
    if isinstance(value, bytes | bytearray):
        return value.decode(errors="backslashreplace") or None
    return None if value is None else str(value) or None


def _jsonable(value: object) -> Any:
    if isinstance(value, dict):
        return {str(name): _jsonable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str | datetime) else _text(value)
