"""CloudEvents 1.0 in JSON batches: an AMQP message carries 1 to N events of one type.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md §4
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

CONTENT_TYPE = "application/cloudevents-batch+json"
_SPEC_VERSION = "1.0"
_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC


@dataclass(frozen=True, slots=True)
class Event:
    """`id` is unique within `source`; `data` is a JSON object, or ready JSON (`orjson.Fragment`) on the way out.

    `content` is what was read, as a batch of its own, with the attributes that have no name here; None if it was made.
    """

    id: str
    source: str
    type: str
    time: datetime | str
    traceparent: str | None
    data: Any
    content: bytes | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What arrived in the place of an event, as a batch of its own where that is possible, and why it is none."""

    content: bytes
    reason: str
    traceparent: str | None = None


def encode(events: Sequence[Event]) -> bytes:
    return orjson.dumps([_attributes(event) for event in events], option=_OPTIONS)


def batch_of(event: Event) -> bytes:
    """Of this one alone, with all that it came with."""
    return encode([event]) if event.content is None else event.content


def decode(body: bytes) -> list[Event | Unreadable]:
    """Each element of a batch for itself: one that cannot be read does not hide its neighbours.

    Elements too deep to be written again have one Unreadable in their place, which holds the whole body.
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


def _event(element: Any) -> Event | Unreadable | None:
    try:
        content = orjson.dumps([element])
    except orjson.JSONEncodeError:  # it reads four times as deep as it writes, and a dead letter has to be written
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
