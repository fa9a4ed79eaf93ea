"""Consumes events in batches: one transaction and one acknowledgement for what is there, no wait for more."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

import aiormq
import structlog
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage
from marshmallow import ValidationError

from shared import tracing
from shared.contracts.events import DATA
from shared.errors import AppError, Code
from shared.messaging import cloudevents
from shared.messaging.cloudevents import Event, Unreadable
from shared.messaging.connection import SupervisedConnection
from shared.messaging.dead_letters import DeadLetters
from shared.messaging.topology import Queue
from shared.metrics import METRICS
from shared.tasks import Backoff

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Received:
    """An event with its data checked, under the names of its schema in `shared.contracts.events`."""

    event: Event
    data: Mapping[str, Any]


# Applies a batch in one transaction and returns what its log line should tell. Raises AppError UNAVAILABLE if a
# server is down (the batch is held and tried again); anything else is the fault of an event in the batch.
Handle = Callable[[Sequence[Received]], Awaitable[Mapping[str, Any]]]

_BATCH_EVENTS = 512
# Messages, each of 1 to 256 events; enough to fill a batch when each carries one.
_PREFETCH = 512
_STOP = 4.0


@dataclass(slots=True)
class Acknowledgements:
    """Which delivery tags are settled, so that one `multiple` ack never covers one that is not."""

    acked: int = 0
    _settled: set[int] = field(default_factory=set)

    def settle(self, tags: Iterable[int]) -> int | None:
        """The tag to acknowledge up to, or None while an earlier delivery is still open."""
        self._settled.update(tags)
        before = self.acked
        while self.acked + 1 in self._settled:
            self.acked += 1
            self._settled.discard(self.acked)
        return self.acked if self.acked > before else None


class Consumer:
    """One queue, one batch at a time. `stalled` while a batch is held because a server is down."""

    def __init__(self, url: str, name: str, queue: Queue, handle: Handle, dead_letters: DeadLetters) -> None:
        self._supervised = SupervisedConnection(url, f"{name} consumer of {queue.name}", self._session)
        self._queue = queue
        self._handle = handle
        self._dead_letters = dead_letters
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.stalled = False

    @property
    def connected(self) -> bool:
        return self._supervised.connected

    async def run(self) -> NoReturn:
        await self._supervised.run()

    async def stop(self) -> None:
        """Finish and acknowledge the batch at hand, within 4 s; the broker gives the rest to somebody else."""
        self._stopping.set()
        try:
            async with asyncio.timeout(_STOP):
                await self._idle.wait()
        except TimeoutError:
            log.warning("batch not finished in time", queue=self._queue.name)

    @asynccontextmanager
    async def _session(self, connection: AbstractConnection) -> AsyncIterator["asyncio.Future[object]"]:
        channel = await connection.channel(publisher_confirms=False)
        await channel.basic_qos(prefetch_count=_PREFETCH)
        inbox: asyncio.Queue[DeliveredMessage] = asyncio.Queue()  # bounded by the prefetch count

        async def receive(message: DeliveredMessage) -> None:
            inbox.put_nowait(message)

        # Done when the channel closes under its acks; a cancelled consumer would leave it waiting for ever.
        worker = asyncio.ensure_future(self._work(channel, inbox))
        channel.on_consumer_cancel_callbacks.add(lambda _: worker.cancel())
        channel.closing.add_done_callback(lambda _: worker.cancel())
        try:
            await channel.basic_consume(self._queue.name, receive)
            yield worker
        finally:
            worker.cancel()
            await asyncio.wait({worker})
            self.stalled = False  # a batch that was held goes back to the broker with its session
            if not worker.cancelled() and (error := worker.exception()):
                log.error("consumer failed", queue=self._queue.name, exc_info=error)

    async def _work(self, channel: AbstractChannel, inbox: "asyncio.Queue[DeliveredMessage]") -> object:
        acknowledgements = Acknowledgements()
        while True:
            messages, elements = await _take(inbox)
            if self._stopping.is_set():
                await asyncio.Event().wait()  # the session's end gives what is left back to the broker
            self._idle.clear()
            try:
                await self._process(elements)
                tag = acknowledgements.settle(_tag(message) for message in messages)
                if tag is not None:
                    await channel.basic_ack(tag, multiple=True, wait=False)
            except aiormq.exceptions.ChannelInvalidStateError:
                return None  # closed meanwhile: the broker delivers the batch again, and it changes nothing
            finally:
                self._idle.set()

    async def _process(self, elements: Sequence[Event | Unreadable]) -> None:
        events = []
        for element in map(_check, elements):
            if isinstance(element, Unreadable):
                await self._dead_letters.bury_unreadable(self._queue, element)
            else:
                events.append(element)
        if events:
            await self._apply(events)

    async def _apply(self, events: Sequence[Received]) -> None:
        """Until each event is applied or buried; a failing batch is halved, so that only its culprits are buried."""
        backoff = Backoff()
        while True:
            started = time.perf_counter()
            try:
                told = await self._handle(events)
            except Exception as error:  # noqa: BLE001  # sorted into outage and fault right here
                if not (isinstance(error, AppError) and error.code is Code.UNAVAILABLE):
                    return await self._isolate(events, error)
                self.stalled = True
                log.warning(
                    "batch held",
                    queue=self._queue.name,
                    events=len(events),
                    error=str(error),
                    trace_ids=_traces(events),
                )
                await asyncio.sleep(backoff.next())
            else:
                self.stalled = False
                return self._tell(events, told, time.perf_counter() - started)

    async def _isolate(self, events: Sequence[Received], error: Exception) -> None:
        if len(events) == 1:
            await self._dead_letters.bury(self._queue, events[0].event, error)
            return
        middle = len(events) // 2
        await self._apply(events[:middle])
        await self._apply(events[middle:])

    def _tell(self, events: Sequence[Received], told: Mapping[str, Any], seconds: float) -> None:
        METRICS.events.labels(self._queue.name, "applied").inc(len(events))
        METRICS.batch_events.labels(self._queue.name).observe(len(events))
        METRICS.batch_seconds.labels(self._queue.name).observe(seconds)
        log.info(
            "batch handled",
            queue=self._queue.name,
            events=len(events),
            duration_ms=round(seconds * 1e3, 2),
            **told,
            trace_ids=_traces(events),
        )


async def _take(inbox: "asyncio.Queue[DeliveredMessage]") -> tuple[list[DeliveredMessage], list[Event | Unreadable]]:
    """At least one message, then what is there already, up to about 512 events."""
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


def _tag(message: DeliveredMessage) -> int:
    tag = message.delivery_tag
    if tag is None:
        raise ValueError("a delivery without a tag")
    return tag
