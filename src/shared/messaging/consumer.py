"""Consumes events in batches: one transaction for all that has arrived, no wait for more."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiormq
import structlog
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage
from marshmallow import ValidationError

from shared import metrics, tracing
from shared.contracts.events import DATA
from shared.errors import AppError, Code
from shared.messaging import cloudevents, dead_letters
from shared.messaging.cloudevents import Event, Unreadable
from shared.messaging.connection import SupervisedConnection
from shared.messaging.publisher import Publisher
from shared.messaging.topology import Queue
from shared.tasks import backoff

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Received:
    """An event and its data, as loaded by its schema in `shared.contracts.events`."""

    event: Event
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Handled:
    """What became of a batch: fields for its log line, and the events that are refused for good, with their reasons.

    All others are applied.
    """

    fields: Mapping[str, Any]
    refused: Sequence[tuple[Received, AppError]] = ()


# Applies a batch in one transaction. AppError UNAVAILABLE means that a server is down: the batch is held and tried
# again. Any other error is attributed to an event in the batch.
Handle = Callable[[Sequence[Received]], Awaitable[Handled]]

_BATCH_EVENTS = 512
# In messages, each of 1 to 256 events: enough to fill a batch if each carries one.
_PREFETCH = 512
_STOP = 4.0


class Consumer(SupervisedConnection):
    """Consumes one queue, one batch at a time; `stalled` is true while a batch is held because a server is down.

    `publisher` moves events that cannot be read or applied to the dead letters.
    """

    def __init__(self, url: str, name: str, queue: Queue, handle: Handle, publisher: Publisher) -> None:
        super().__init__(url, f"{name} consumer of {queue.name}", self._consuming_channel)
        self._queue = queue
        self._handle = handle
        self._publisher = publisher
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.stalled = False

    async def stop(self) -> None:
        """Finishes and acknowledges the current batch within 4 s; other consumers get the rest."""
        self._stopping.set()
        try:
            async with asyncio.timeout(_STOP):
                await self._idle.wait()
        except TimeoutError:
            log.warning("batch not finished in time", queue=self._queue.name)

    @asynccontextmanager
    async def _consuming_channel(self, connection: AbstractConnection) -> AsyncIterator["asyncio.Future[object]"]:
        channel = await connection.channel(publisher_confirms=False)
        await channel.basic_qos(prefetch_count=_PREFETCH)
        inbox: asyncio.Queue[DeliveredMessage] = asyncio.Queue()  # bounded by the prefetch count

        async def receive(message: DeliveredMessage) -> None:
            inbox.put_nowait(message)

        # The worker must end with the channel or the consumer, or it would wait for ever.
        worker = asyncio.ensure_future(self._work(channel, inbox))
        channel.on_consumer_cancel_callbacks.add(lambda _: worker.cancel())
        channel.closing.add_done_callback(lambda _: worker.cancel())
        try:
            await channel.basic_consume(self._queue.name, receive)
            yield worker
        finally:
            worker.cancel()
            await asyncio.wait({worker})
            self.stalled = False  # the broker redelivers a held batch after its session
            if not worker.cancelled() and (error := worker.exception()):
                log.error("consumer failed", queue=self._queue.name, exc_info=error)

    async def _work(self, channel: AbstractChannel, inbox: "asyncio.Queue[DeliveredMessage]") -> object:
        while True:
            messages, elements = await _next_batch(inbox)
            if self._stopping.is_set():
                await asyncio.Event().wait()  # until the session ends and the broker redelivers the rest
            self._idle.clear()
            try:
                await self._process(elements)
                for message in messages:
                    # Every delivery has a tag, although the type of aiormq allows None.
                    await channel.basic_ack(message.delivery_tag or 0, wait=False)
            except aiormq.exceptions.ChannelInvalidStateError:
                return None  # closed meanwhile: a redelivered batch changes nothing
            finally:
                self._idle.set()

    async def _process(self, elements: Sequence[Event | Unreadable]) -> None:
        events = []
        for element in map(_check, elements):
            if isinstance(element, Unreadable):
                await dead_letters.bury_unreadable(self._publisher, self._queue, element)
            else:
                events.append(element)
        if events:
            await self._apply(events)

    async def _apply(self, events: Sequence[Received]) -> None:
        """Applies or buries each event; halves a failing batch, so that only the events at fault are buried."""
        pauses = backoff()
        while True:
            started = time.perf_counter()
            try:
                handled = await self._handle(events)
            except Exception as error:  # noqa: BLE001  # distinguishes outage and fault here
                if not (isinstance(error, AppError) and error.code is Code.UNAVAILABLE):
                    return await self._isolate(events, error)
                self.stalled = True
                log.warning(
                    "batch held",
                    queue=self._queue.name,
                    events=len(events),
                    error=str(error),
                    cause=repr(error.__cause__),
                    trace_ids=_traces(events),
                )
                await asyncio.sleep(next(pauses))
            else:
                self.stalled = False
                self._report(events, handled, time.perf_counter() - started)
                for received, reason in handled.refused:
                    await dead_letters.bury(self._publisher, self._queue, received.event, reason)
                return None

    async def _isolate(self, events: Sequence[Received], error: Exception) -> None:
        if len(events) == 1:
            await dead_letters.bury(self._publisher, self._queue, events[0].event, error)
            return
        middle = len(events) // 2
        await self._apply(events[:middle])
        await self._apply(events[middle:])

    def _report(self, events: Sequence[Received], handled: Handled, seconds: float) -> None:
        metrics.EVENTS.labels(self._queue.name, "applied").inc(len(events) - len(handled.refused))
        metrics.BATCH_EVENTS.labels(self._queue.name).observe(len(events))
        metrics.BATCH_SECONDS.labels(self._queue.name).observe(seconds)
        log.info(
            "batch handled",
            queue=self._queue.name,
            events=len(events),
            duration_ms=round(seconds * 1e3, 2),
            **handled.fields,
            trace_ids=_traces(events),
        )


async def _next_batch(
    inbox: "asyncio.Queue[DeliveredMessage]",
) -> tuple[list[DeliveredMessage], list[Event | Unreadable]]:
    """Waits for one message, then adds those that have arrived, up to about 512 events."""
    messages = [await inbox.get()]
    elements = cloudevents.decode(messages[0].body)
    while len(elements) < _BATCH_EVENTS and not inbox.empty():
        messages.append(inbox.get_nowait())
        elements.extend(cloudevents.decode(messages[-1].body))
    return messages, elements


def _check(element: Event | Unreadable) -> Received | Unreadable:
    if isinstance(element, Unreadable):
        return element
    schema = DATA.get(element.type)
    if schema is None:
        return _unreadable(element, f"unknown type {element.type}")
    try:
        return Received(element, schema.load(element.data))
    except ValidationError as error:
        return _unreadable(element, f"data: {error.messages}")


def _unreadable(event: Event, reason: str) -> Unreadable:
    return Unreadable(cloudevents.batch_of(event), reason, event.traceparent)


def _traces(events: Sequence[Received]) -> list[str | None]:
    return [tracing.trace_id_of(received.event.traceparent) for received in events]
