"""Dead letters and parked events, described from bytes that any sender may have written: list, show, replay, drop."""

import argparse
import base64
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from aiormq.abc import AbstractConnection, DeliveredMessage
from pamqp.commands import Basic

from ops import broker
from ops.broker import Reading
from ops.errors import OpsError, first_line
from ops.output import Answer, printable, tables
from shared import tracing
from shared.messaging import cloudevents
from shared.messaging.cloudevents import Event
from shared.messaging.connection import FAILURES
from shared.messaging.topology import QUEUES, Queue
from shared.settings import AmqpUrl, Settings, each_host

# Per queue: every letter that was looked at is held until the end, and the broker has to remember it.
MOST_SEARCHED = 10_000

_ID_DIGITS = 16
_NONE = {"deadLetters": "no dead letters", "parked": "no parked events"}
_HEADINGS = ("CAUSE", "ID", "EVENT", "ERROR", "TRACE", "TIME")
_SHOWN = ("id", "eventId", "error", "traceId", "time")

Act = Callable[[Reading, DeliveredMessage], Awaitable[None]]
# Opens a queue of letters.
Opened = Callable[[], AbstractAsyncContextManager[Reading]]


@dataclass(frozen=True, kw_only=True, repr=False)
class _Settings(Settings):
    amqp_url: AmqpUrl


async def run(environ: Mapping[str, str], options: argparse.Namespace) -> Answer:
    """Raises SettingsError or OpsError."""
    amqp_url = _Settings.load(environ).amqp_url
    is_parked = options.command == "parked"
    queues = [queue for queue in QUEUES if options.queue in (None, queue.name)]
    async with broker.connect(*each_host(amqp_url)) as connection:
        sources: list[Opened] = [
            partial(broker.opened, connection, queue, queue.parked if is_parked else queue.dead) for queue in queues
        ]
        match options.action:
            case "list":
                return await _list(sources, options.limit, "parked" if is_parked else "deadLetters")
            case "show":
                return await _show(sources, options.ids[0])
            case "drop":
                return await _settle(sources, options.ids, "dropped", Reading.take)
            case _:
                return await _replay(connection, sources, options.ids, "retried" if is_parked else "replayed")


def describe(queue: str, properties: Basic.Properties, body: bytes) -> dict[str, Any]:
    """Its type, id and trace are those of its first readable event, `events` counts the readable ones.

    `time` is when it became a letter, None if nothing says so.
    """
    headers = properties.headers or {}
    death = _last_death(headers)
    events = [element for element in cloudevents.decode(body) if isinstance(element, Event)]
    first = events[0] if events else None
    traceparent = _text(headers.get("traceparent")) or (first.traceparent if first else None)
    return {
        "id": identify(queue, properties, body),
        "queue": queue,
        "eventType": first.type if first else None,
        "eventId": first.id if first else None,
        "events": len(events),
        "reason": _text(headers.get("x-reason")) or _text(death.get("reason")),
        "error": _text(headers.get("x-error")) or (f"dead-lettered by the broker, {_count(death)}" if death else None),
        "traceId": tracing.trace_id_of(traceparent),
        "time": _time(death.get("time")) or _time(properties.timestamp),
    }


def identify(queue: str, properties: Basic.Properties, body: bytes) -> str:
    """The same in every run; two letters share it only if queue, message id and every byte of the body are equal.

    The message id alone is not enough: another sender may leave it out, repeat it, or put anything into it.
    """
    digest = hashlib.sha256()
    for part in (queue.encode(), str(properties.message_id or "").encode(errors="replace"), body):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:_ID_DIGITS]


def content(properties: Basic.Properties, body: bytes) -> dict[str, Any]:
    """The headers and the body, as text or, where the bytes are not UTF-8, in base64."""
    shown: dict[str, Any] = {
        "messageId": _text(properties.message_id),
        "contentType": _text(properties.content_type),
        "headers": _jsonable(properties.headers or {}),
    }
    try:
        return {**shown, "body": body.decode()}
    except UnicodeDecodeError:
        return {**shown, "bodyBase64": base64.b64encode(body).decode()}


async def _list(sources: Sequence[Opened], limit: int, key: str) -> Answer:
    found: list[dict[str, Any]] = []
    ready: dict[str, int] = {}
    for opened in sources:
        async with opened() as reading:
            ready[reading.queue.name] = reading.ready
            found += [_described(reading.queue, message) async for message in reading.letters(limit - len(found))]
    total = sum(ready.values())
    text = tables(_HEADINGS, map(_row, found)) or _NONE[key]
    if total > len(found):
        text += f"\n{len(found)} of {total} shown"
    return Answer({key: found, "ready": ready}, text)


async def _show(sources: Sequence[Opened], wanted: str) -> Answer:
    for opened in sources:
        async with opened() as reading:
            async for message in reading.letters(MOST_SEARCHED):
                letter = _described(reading.queue, message)
                if letter["id"] == wanted:
                    document = {**letter, **content(message.header.properties, message.body)}
                    lines = (f"{name}: {printable(str(value))}" for name, value in document.items())
                    return Answer(document, "\n".join(lines))
    raise OpsError(_unknown([wanted]))


async def _replay(connection: AbstractConnection, sources: Sequence[Opened], ids: Sequence[str], done: str) -> Answer:
    channel = await connection.channel(publisher_confirms=True)

    async def resend(reading: Reading, message: DeliveredMessage) -> None:
        await broker.send(channel, reading.queue, message)
        # In this order a crash in between leaves it in both queues, and an event that comes twice changes nothing.
        await reading.take(message)

    return await _settle(sources, ids, done, resend)


async def _settle(sources: Sequence[Opened], ids: Sequence[str], done: str, act: Act) -> Answer:
    """Calls `act` for each of `ids`, or for every letter if `ids` is empty; `done` names the result."""
    left = set(ids)
    settled: list[str] = []
    try:
        for opened in sources:
            if ids and not left:
                break
            async with opened() as reading:
                async for message in reading.letters(MOST_SEARCHED if ids else reading.ready):
                    identifier = identify(reading.queue.name, message.header.properties, message.body)
                    if ids and identifier not in left:
                        continue
                    await act(reading, message)
                    settled.append(identifier)
                    left.discard(identifier)  # so of letters that share an id only the first is settled
                    if ids and not left:
                        break
    except FAILURES as error:
        raise OpsError(f"the broker failed after {len(settled)} were {done}: {first_line(error)}") from error
    unknown = [identifier for identifier in dict.fromkeys(ids) if identifier in left]
    text = f"{len(settled)} {done}" + (f"\n{_unknown(unknown)}" if unknown else "")
    return Answer({done: settled, "unknown": unknown}, text, ok=not unknown)


def _described(queue: Queue, message: DeliveredMessage) -> dict[str, Any]:
    return describe(queue.name, message.header.properties, message.body)


def _row(letter: dict[str, Any]) -> list[object]:
    shown = {**letter, "time": letter["time"] and f"{letter['time']:%Y-%m-%d %H:%M:%S}"}
    if letter["events"] > 1:
        shown["eventId"] += f" and {letter['events'] - 1} more"
    cause = f"{letter['queue']}, {letter['eventType'] or 'unknown type'}, {letter['reason']}"
    return [cause, *(shown[name] for name in _SHOWN)]


def _unknown(ids: Sequence[str]) -> str:
    named = ", ".join(map(printable, ids))
    return f"not there (of each queue {MOST_SEARCHED} are searched): {named}"


def _last_death(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    """The broker's own note; the latest comes first: https://www.rabbitmq.com/docs/dlx#effects."""
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
    """None for None and for an empty text."""
    if isinstance(value, bytes | bytearray):
        return value.decode(errors="backslashreplace") or None
    return None if value is None else str(value) or None


def _jsonable(value: object) -> Any:
    if isinstance(value, dict):
        return {str(name): _jsonable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str | datetime) else _text(value)
