"""Moves an event that cannot be read or applied to `<queue>.dead`, or if a newer release can to `<queue>.parked`."""

import asyncio

import structlog

from shared import metrics, tracing
from shared.errors import AppError
from shared.messaging import cloudevents
from shared.messaging.cloudevents import Event, Unreadable
from shared.messaging.publisher import Publisher, PublishError
from shared.messaging.topology import QUEUE_EXCHANGE, Queue
from shared.tasks import backoff

log = structlog.get_logger()

# Characters. Headers that exceed the broker's frame size would end the connection at every try.
_MOST_HEADER = 1_000


class NewerError(AppError):
    """The event is about something that a newer release has written, and only such a one can decide it."""


async def bury(publisher: Publisher, queue: Queue, event: Event, error: Exception) -> None:
    """Returns when the broker has confirmed the dead letter, so that its event may be acknowledged."""
    text = f"{type(error).__name__}: {error}" + (f" ({error.__cause__!r})" if error.__cause__ else "")
    is_newer = isinstance(error, NewerError)
    letter = Unreadable(cloudevents.batch_of(event), text, event.traceparent, is_newer)
    trace = {} if is_newer else {"exc_info": error}
    await _put_away(publisher, queue, letter, "failed", event_id=event.id, event_type=event.type, **trace)


async def bury_unreadable(publisher: Publisher, queue: Queue, element: Unreadable) -> None:
    """Like `bury`."""
    await _put_away(publisher, queue, element, "unreadable", size=len(element.content))


async def _put_away(publisher: Publisher, queue: Queue, letter: Unreadable, kind: str, **about: object) -> None:
    buried = ("buried", queue.dead, kind, log.error)
    outcome, name, kind, write = ("parked", queue.parked, "newer", log.warning) if letter.is_newer else buried
    trace_ids = [tracing.trace_id_of(letter.traceparent)]
    write(f"event {outcome}", queue=queue.name, reason=letter.reason[:_MOST_HEADER], trace_ids=trace_ids, **about)
    metrics.EVENTS.labels(queue.name, outcome).inc()
    headers = {"x-reason": kind, "x-error": letter.reason[:_MOST_HEADER]}
    if letter.traceparent:
        headers["traceparent"] = letter.traceparent[:_MOST_HEADER]
    pauses = backoff()
    while True:
        try:
            return await publisher.publish(QUEUE_EXCHANGE, name, letter.content, headers)
        except PublishError as error:
            log.warning("dead letter waits", queue=queue.name, error=str(error))
            await asyncio.sleep(next(pauses))
