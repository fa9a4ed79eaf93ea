"""The messages of one channel, as events: each is acknowledged when none of its events is left to do."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

from aiormq.abc import AbstractChannel, DeliveredMessage
from marshmallow import Schema, ValidationError

from shared import metrics
from shared.contracts.events import DATA
from shared.messaging import cloudevents
from shared.messaging.cloudevents import Event, Unreadable
from shared.messaging.topology import Queue
from shared.tasks import backoff

# In messages, each of 1 to 256 events: enough to fill a batch if each carries one.
PREFETCH = 512
_BATCH_EVENTS = 512
_MESSAGE_EVENTS = 256
# Seconds between two looks for events whose pause is over.
_TICK = 0.1


class Received(NamedTuple):
    """An event and its data, as loaded by its schema in `shared.contracts.events`; `tag` is that of its message."""

    event: Event
    data: Mapping[str, Any]
    tag: int


# With the error, or None where a row is locked.
Waiting: TypeAlias = tuple[Received, Exception | None]


@dataclass(frozen=True, slots=True)
class Aside:
    """An event that is tried again at `due` of the monotonic clock."""

    received: Received
    error: Exception | None
    pauses: Iterator[float]
    due: float


class Deliveries:
    """What a channel has delivered of a queue; its memory is bounded by the channel's prefetch count."""

    def __init__(self, channel: AbstractChannel, queue: Queue) -> None:
        self.aside: dict[int, Aside] = {}  # by id() of what was received
        self._channel = channel
        self._schemas: Mapping[str, Schema] = {type_: DATA[type_] for type_ in queue.types}
        self._redelivered = metrics.REDELIVERED.labels(queue.name)
        self._inbox: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
        self._open: Counter[int] = Counter()  # how many events of a message are set aside, by its tag
        self._some = asyncio.Event()

    async def receive(self, message: DeliveredMessage) -> None:
        if message.redelivered:
            self._redelivered.inc()
        self._inbox.put_nowait(message)

    async def batch(self) -> tuple[list[int], list[Received | Unreadable]]:
        """Waits for one message, then adds those that have arrived, up to about 512 events: their tags and events."""
        tags: list[int] = []
        elements: list[Received | Unreadable] = []
        while not tags or (len(elements) < _BATCH_EVENTS and not self._inbox.empty()):
            message = await self._inbox.get()
            tags.append(message.delivery_tag or 0)  # every delivery has one, although the type of aiormq allows None
            elements.extend(self._check(element, tags[-1]) for element in cloudevents.decode(message.body))
        return tags, elements

    async def due(self) -> list[Aside]:
        """Waits until the pause of an event is over."""
        while True:
            await self._some.wait()
            now = time.monotonic()
            if due := list(islice((each for each in self.aside.values() if each.due <= now), _BATCH_EVENTS)):
                return due
            await asyncio.sleep(_TICK)

    async def settle(
        self, waiting: Iterable[Waiting], *, tags: Iterable[int] = (), tried: Sequence[Aside] = ()
    ) -> None:
        """Sets events aside, and acknowledges those messages of which none is.

        `tags` are of new messages, `tried` is what was set aside before.
        """
        pauses = {id(each.received): each.pauses for each in tried}
        for each in tried:
            del self.aside[id(each.received)]
            self._open[each.received.tag] -= 1
        for received, error in waiting:
            again = pauses.get(id(received)) or backoff()
            self.aside[id(received)] = Aside(received, error, again, time.monotonic() + next(again))
            self._open[received.tag] += 1
        (self._some.set if self.aside else self._some.clear)()
        done = [tag for tag in {*tags, *(each.received.tag for each in tried)} if not self._open[tag]]
        for tag in done:
            del self._open[tag]
        for tag in done:  # the first wait, so that no message is acknowledged twice
            await self._channel.basic_ack(tag, wait=False)

    def scattered(self) -> Iterator[list[Aside]]:
        """What is set aside, if little of many messages is: they leave no more than half of the prefetch count."""
        left = list(self.aside.values())
        if len(self._open) > PREFETCH // 2 and len(left) < len(self._open) * _MESSAGE_EVENTS // 2:
            for start in range(0, len(left), _MESSAGE_EVENTS):
                yield left[start : start + _MESSAGE_EVENTS]

    def _check(self, element: Event | Unreadable, tag: int) -> Received | Unreadable:
        if isinstance(element, Unreadable):
            return element
        schema = self._schemas.get(element.type)
        if schema is None:
            return _unreadable(element, f"unknown type {element.type}", is_newer=True)
        try:
            return Received(element, schema.load(element.data), tag)
        except ValidationError as error:
            is_newer = error.messages_dict.keys() == {"status"} and isinstance(element.data.get("status"), str)
            return _unreadable(element, f"data: {error.messages}", is_newer=is_newer)


def _unreadable(event: Event, reason: str, *, is_newer: bool) -> Unreadable:
    return Unreadable(cloudevents.batch_of(event), reason, event.traceparent, is_newer)
