"""Consumes events in batches: one transaction for all that has arrived, no wait for more."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiormq
import structlog
from aiormq.abc import AbstractConnection

from shared import metrics, spans, tracing
from shared.db import FAULTS
from shared.errors import AppError, Code
from shared.messaging import cloudevents, dead_letters, topology
from shared.messaging.cloudevents import Unreadable
from shared.messaging.connection import FAILURES, SupervisedConnection, is_cancelled
from shared.messaging.deliveries import PREFETCH, Aside, Deliveries, Received, Waiting
from shared.messaging.publisher import Publisher, PublishError
from shared.messaging.topology import QUEUE_EXCHANGE, Queue
from shared.tasks import backoff

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Handled:
    """What became of a batch: fields for its log line, and the events that are refused for good, with their reasons.

    `blocked` are those for which a row is locked. All others are applied.
    """

    fields: Mapping[str, Any]
    refused: Sequence[tuple[Received, AppError]] = ()
    blocked: Sequence[Received] = ()


# Applies a batch in one transaction. Only an error of data and an AppError that is not UNAVAILABLE blame an event.
Handle = Callable[[Sequence[Received]], Awaitable[Handled]]
Probe = Callable[[], Awaitable[bool]]

# One takes what is new, one what is set aside.
_WORKERS = 2
# Seconds.
_STOP = 4.0
# How long nothing may be applied until all events go back to the queue, for other replicas. It is done so often in a
# row, which is far below the limit of deliveries, whatever the number of replicas.
_HOLD = 5.0
_MOST_GIVEN_BACK = 20
# An event that fails alone becomes a dead letter after so many tries in so many seconds.
_TRIES = 10
_PATIENCE = 600.0
_MOST_FAILURES = 10_000
# Seconds between two looks after the queue; a busy broker may once say that it has no consumer.
_LOOK = 5.0
_MOST_UNHEARD = 2


class _EndOfSession(Exception):  # noqa: N818  # it is no error
    """Gives all events of the session back to the queue, and begins another one."""


@dataclass(slots=True)
class _Failure:
    """How often an event has failed alone since when, and how many events were applied by the last time."""

    since: float
    applied: int
    tries: int = 0


class Consumer(SupervisedConnection):
    """Consumes one queue, one batch at a time; what is set aside is tried again beside it.

    `publisher` moves events that cannot be read or applied to the queues beside it. `is_up` tells whether the server
    that `handle` needs answers; it may raise AppError.
    """

    def __init__(
        self, url: str, name: str, queue: Queue, handle: Handle, publisher: Publisher, *, is_up: Probe
    ) -> None:
        super().__init__(url, f"{name} consumer of {queue.name}", self._consuming_channel)
        self._queue = queue
        self._handle = handle
        self._publisher = publisher
        self._is_up = is_up
        self._may_work = asyncio.Semaphore(_WORKERS)
        self._held = False
        self._aside: Mapping[int, Aside] = {}
        self._applied = 0
        self._failing_since = math.inf  # on the monotonic clock, without anything applied
        self._given_back = 0
        self._away = backoff()
        self._failures: dict[tuple[str, str], _Failure] = {}
        for outcome in ("applied", "buried", "parked"):
            metrics.EVENTS.labels(queue.name, outcome)
        metrics.CONSUMERS.labels(queue.name)
        metrics.EVENTS_ASIDE.labels(queue.name).set_function(lambda: len(self._aside))

    @property
    def stalled(self) -> bool:
        """Whether events wait here: for a server that is down, for a lock, or because they have failed."""
        return self._held or bool(self._aside)

    async def stop(self) -> None:
        """Finishes and acknowledges the current batch within 4 s; other consumers get the rest."""
        try:
            async with asyncio.timeout(_STOP):
                for _ in range(_WORKERS):
                    await self._may_work.acquire()  # for good
        except TimeoutError:
            log.warning("batch not finished in time", queue=self._queue.name)

    @asynccontextmanager
    async def _consuming_channel(self, connection: AbstractConnection) -> AsyncIterator["asyncio.Future[object]"]:
        if self._given_back:
            await self._until_up()
        channel = await connection.channel(publisher_confirms=False)
        await channel.basic_qos(prefetch_count=PREFETCH)
        deliveries = Deliveries(channel, self._queue)
        self._aside, self._failing_since = deliveries.aside, math.inf
        # The worker must end with the channel or the consumer, or it would wait for ever.
        worker: asyncio.Future[object] = asyncio.ensure_future(self._work(deliveries, connection))
        channel.on_consumer_cancel_callbacks.add(lambda _: worker.cancel())
        channel.closing.add_done_callback(lambda _: worker.cancel())
        try:
            await channel.basic_consume(self._queue.name, deliveries.receive)
            yield worker
        finally:
            worker.cancel()
            await asyncio.wait({worker})
            metrics.CONSUMERS.labels(self._queue.name).set(0)
            self._held, self._aside = False, {}  # the broker redelivers it after the session
            if not worker.cancelled() and (error := worker.exception()):
                log.error("consumer failed", queue=self._queue.name, exc_info=error)

    async def _until_up(self) -> None:
        self._held = True
        while self._held:
            await asyncio.sleep(next(self._away))
            self._held = await self._is_down()

    async def _work(self, deliveries: Deliveries, connection: AbstractConnection) -> None:
        """Ends when the channel is closed, or when events are given back: a batch that comes again changes nothing."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._take(deliveries))
                group.create_task(self._try_again(deliveries))
                group.create_task(self._listen(connection))
        except* (aiormq.exceptions.ChannelInvalidStateError, _EndOfSession):
            pass

    async def _listen(self, connection: AbstractConnection) -> None:
        """Binds the queue again, because nobody tells of a binding that was deleted.

        Raises _EndOfSession when the broker says no more that the queue has a consumer. RabbitMQ 3.10 tells
        nobody of a queue that was deleted and is there again at once.
        """
        unheard = 0
        while unheard < _MOST_UNHEARD:
            await asyncio.sleep(_LOOK)
            unheard += 1
            with suppress(*FAILURES):
                async with asyncio.timeout(_LOOK):
                    found = await topology.look_after(connection, self._queue)
                    for name, declared in found.items():
                        metrics.MESSAGES.labels(name).set(declared.message_count or 0)
                    consumers = found[self._queue.name].consumer_count or 0
                    metrics.CONSUMERS.labels(self._queue.name).set(consumers)
                    unheard = 0 if consumers else unheard
            if is_cancelled():
                raise asyncio.CancelledError
        log.warning("queue without a consumer", queue=self._queue.name)
        raise _EndOfSession

    async def _take(self, deliveries: Deliveries) -> None:
        while True:
            tags, elements = await deliveries.batch()
            async with self._may_work:
                await deliveries.settle(await self._process(elements), tags=tags)

    async def _try_again(self, deliveries: Deliveries) -> None:
        """Tries what is set aside, beside the other events."""
        while True:
            due = await deliveries.due()
            async with self._may_work:
                waiting = await self._apply([each.received for each in due])
                await deliveries.settle(waiting, tried=due)
                with suppress(PublishError):  # then they stay here
                    await self._repack(deliveries)

    async def _repack(self, deliveries: Deliveries) -> None:
        """Sends what is set aside to the end of the queue in full messages, where small ones leave too little room."""
        for some in deliveries.scattered():
            body = cloudevents.batch_of(*(each.received.event for each in some))
            await self._publisher.publish(QUEUE_EXCHANGE, self._queue.name, body)
            await deliveries.settle((), tried=some)

    async def _process(self, elements: Sequence[Received | Unreadable]) -> list[Waiting]:
        events = [element for element in elements if isinstance(element, Received)]
        waiting = await self._apply(events) if events else []
        # After the others, which may be given back with their message.
        bury = partial(dead_letters.bury_unreadable, self._publisher, self._queue)
        await asyncio.gather(*(bury(element) for element in elements if isinstance(element, Unreadable)))
        if waiting:
            error = next((error for _, error in waiting if error), None)
            log.warning(
                "events set aside",
                queue=self._queue.name,
                events=len(waiting),
                error=repr(error) if error else "a row is locked",
                trace_ids=_traces([received for received, _ in waiting]),
                exc_info=error,
            )
        return waiting

    async def _apply(self, events: Sequence[Received]) -> list[Waiting]:
        """Applies or buries each event, or returns it to be set aside; halves a batch that fails.

        While a server is down the batch is held, and then given back.
        """
        pauses = backoff()
        while True:
            started = time.monotonic()
            try:
                since = ((received.event.traceparent, received.event.time) for received in events)
                with spans.recorder.messages("process", f"{topology.EXCHANGE}:{self._queue.name}", since):
                    handled = await self._handle(events)
            except Exception as raised:  # noqa: BLE001  # distinguishes outage and fault here
                error = raised
            else:
                self._report(events, handled, time.monotonic() - started)
                for received, reason in handled.refused:
                    await dead_letters.bury(self._publisher, self._queue, received.event, reason)
                return [(received, None) for received in handled.blocked]
            failed = time.monotonic()
            is_down = isinstance(error, AppError) and not _blames(error) and await self._is_down()
            if not _blames(error):
                self._held = is_down
                self._give_back(error, started if is_down else failed)
            if not is_down:
                return await self._isolate(events, error)
            log.warning(
                "batch held",
                queue=self._queue.name,
                events=len(events),
                error=str(error),
                cause=repr(error.__cause__),
                trace_ids=_traces(events),
            )
            await asyncio.sleep(next(pauses))

    async def _isolate(self, events: Sequence[Received], error: Exception) -> list[Waiting]:
        if len(events) > 1:
            middle = len(events) // 2
            return [*await self._apply(events[:middle]), *await self._apply(events[middle:])]
        [received] = events
        if not _blames(error) and not self._is_spent(received):
            return [(received, error)]
        self._failures.pop(_key(received), None)
        await dead_letters.bury(self._publisher, self._queue, received.event, error)
        return []

    def _give_back(self, error: Exception, since: float) -> None:
        """Raises _EndOfSession if nothing was applied for so long that other replicas should try."""
        self._failing_since = min(self._failing_since, since)
        if time.monotonic() - self._failing_since > _HOLD and self._given_back < _MOST_GIVEN_BACK:
            self._given_back += 1
            log.warning("events given back", queue=self._queue.name, error=str(error), cause=repr(error.__cause__))
            raise _EndOfSession

    def _is_spent(self, received: Received) -> bool:
        """Counts a failure of the event, if others were applied meanwhile or no other has failed."""
        failure = self._failures.setdefault(_key(received), _Failure(time.monotonic(), self._applied))
        others_fail = any(each.error and _key(each.received) != _key(received) for each in self._aside.values())
        if self._applied > failure.applied or not others_fail:
            failure.tries += 1
        failure.applied = self._applied
        if len(self._failures) > _MOST_FAILURES:  # of events that other replicas have got meanwhile
            del self._failures[next(iter(self._failures))]
        return failure.tries >= _TRIES and time.monotonic() - failure.since >= _PATIENCE

    async def _is_down(self) -> bool:
        try:
            return not await self._is_up()
        except AppError:
            return True

    def _report(self, events: Sequence[Received], handled: Handled, seconds: float) -> None:
        self._held = False
        self._failing_since = math.inf
        self._given_back = 0
        self._away = backoff()
        if self._failures:
            for received in events:
                self._failures.pop(_key(received), None)
        applied = len(events) - len(handled.refused) - len(handled.blocked)
        self._applied += applied
        metrics.EVENTS.labels(self._queue.name, "applied").inc(applied)
        if handled.blocked and not applied:
            return  # what is set aside said so when it was
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


def _blames(error: Exception) -> bool:
    """Whether the error is the event's own: of its data, or a decision of ours."""
    return isinstance(error, FAULTS) or (isinstance(error, AppError) and error.code is not Code.UNAVAILABLE)


def _key(received: Received) -> tuple[str, str]:
    return received.event.source, received.event.id


def _traces(events: Sequence[Received]) -> list[str | None]:
    return [tracing.trace_id_of(received.event.traceparent) for received in events]
