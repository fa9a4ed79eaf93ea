"""CloudEvents 1.0 in JSON batches: an AMQP message carries 1 to N events of one type.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md §4
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

CONTENT_TYPE = "application/cloudevents-batch+json"
_SPEC_VERSION = "1.0"
_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC


@dataclass(frozen=True, slots=True)
class Event:
    """`id` is unique within `source`; `data` is a JSON object, or encoded JSON (`orjson.Fragment`) on the way out.

    A decoded event keeps its original JSON in `content`, as a batch of one, with attributes that have no field here.
    """

    id: str
    source: str
    type: str
    time: datetime | str
    traceparent: str | None
    data: Any
    content: bytes = field(default=b"", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An element that is no event, or one for a newer release, as a batch of one where that is possible, and why."""

    content: bytes
    reason: str
    traceparent: str | None = None
    is_newer: bool = False


def encode(events: Sequence[Event]) -> bytes:
    return orjson.dumps([_attributes(event) for event in events], option=_OPTIONS)


def batch_of(*events: Event) -> bytes:
    """A batch of these events, with every attribute that they arrived with."""
    return b"[" + b",".join((event.content or encode([event]))[1:-1] for event in events) + b"]"


def decode(body: bytes) -> list[Event | Unreadable]:
    """Decodes each element by itself, so that an unreadable one does not hide its neighbours.

    Elements that are nested too deeply to be encoded again become one Unreadable, which holds the whole body.
    """
    try:
        batch = orjson.loads(body)
    except orjson.JSONDecodeError:
        return [Unreadable(body, "not JSON")]
    if not isinstance(batch, list):
        return [Unreadable(body, "not a CloudEvents batch")]
    elements = [_event(element) for element in batch]
    found = [element for element in elements if element is not None]
    return found if len(found) == len(batch) else [Unreadable(body, "nested too deeply"), *found]


def _attributes(event: Event) -> dict[str, Any]:
    return {
        "specversion": _SPEC_VERSION,
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "time": event.time,
        **({} if event.traceparent is None else {"traceparent": event.traceparent}),
        "data": event.data,
    }


def _event(element: Any) -> Event | Unreadable | None:
    try:
        content = orjson.dumps([element])
    except orjson.JSONEncodeError:  # orjson decodes deeper nesting than it encodes, and a dead letter is encoded
        return None
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
        content=content,
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
