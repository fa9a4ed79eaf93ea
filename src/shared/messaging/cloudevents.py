"""CloudEvents 1.0 in JSON batches: an AMQP message carries 1 to N events of one type.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md §4
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

CONTENT_TYPE = "application/cloudevents-batch+json"
_SPEC_VERSION = "1.0"
_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC


@dataclass(frozen=True, slots=True)
class Event:
    """`id` is unique within `source`; `data` is a JSON object, or ready JSON (`orjson.Fragment`) on the way out."""

    id: str
    source: str
    type: str
    time: datetime | str
    traceparent: str | None
    data: Any


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What arrived in the place of an event, as a batch of its own where that is possible, and why it is none."""

    content: bytes
    reason: str


def encode(events: Sequence[Event]) -> bytes:
    return orjson.dumps([_attributes(event) for event in events], option=_OPTIONS)


def decode(body: bytes) -> list[Event | Unreadable]:
    """Each element of a batch for itself: one that cannot be read does not hide its neighbours."""
    try:
        batch = orjson.loads(body)
    except orjson.JSONDecodeError:
        return [Unreadable(body, "not JSON")]
    if not isinstance(batch, list):
        return [Unreadable(body, "not a CloudEvents batch")]
    return [_event(element, body) for element in batch]


def now() -> datetime:
    return datetime.now(UTC)


def _attributes(event: Event) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "specversion": _SPEC_VERSION,
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "time": event.time,
    }
    if event.traceparent is not None:
        attributes["traceparent"] = event.traceparent
    attributes["data"] = event.data
    return attributes


def _event(element: Any, body: bytes) -> Event | Unreadable:
    try:
        content = orjson.dumps([element])
    except orjson.JSONEncodeError:  # it reads four times as deep as it writes, and a dead letter has to be written
        return Unreadable(body, "nested too deeply")
    reason = _fault(element)
    if reason is not None:
        return Unreadable(content, reason)
    traceparent = element.get("traceparent")
    return Event(
        id=element["id"],
        source=element["source"],
        type=element["type"],
        time=str(element.get("time", "")),
        traceparent=traceparent if isinstance(traceparent, str) else None,
        data=element["data"],
    )


def _fault(element: Any) -> str | None:
    if not isinstance(element, dict):
        return "not an object"
    if element.get("specversion") != _SPEC_VERSION:
        return f"specversion is not {_SPEC_VERSION}"
    for name in ("id", "source", "type"):
        if not isinstance(element.get(name), str) or not element[name]:
            return f"{name} is missing"
    return None if isinstance(element.get("data"), dict) else "data is not an object"
