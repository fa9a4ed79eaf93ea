"""Moves an event that cannot be read or applied to `<queue>.dead`, with the reason, for an operator."""

import asyncio

import structlog

from shared import metrics, tracing
from shared.messaging import cloudevents
from shared.messaging.cloudevents import Event, Unreadable
from shared.messaging.publisher import Publisher, PublishError
from shared.messaging.topology import QUEUE_EXCHANGE, Queue
from shared.tasks import backoff

log = structlog.get_logger()

# Characters. Headers that exceed the broker's frame size would end the connection at every try.
_MOST_HEADER = 1_000


async def bury(publisher: Publisher, queue: Queue, event: Event, error: Exception) -> None:
    """Returns when the broker has confirmed the dead letter, so that its event may be acknowledged."""
    log.error(
        "event buried",
        queue=queue.name,
        event_id=event.id,
        event_type=event.type,
        trace_ids=[tracing.trace_id_of(event.traceparent)],
        exc_info=error,
    )
    headers = {
        "x-reason": "failed",
        "x-error": f"{type(error).__name__}: {error}" + (f" ({error.__cause__!r})" if error.__cause__ else ""),
        "traceparent": event.traceparent or "",
    }
    await _publish(publisher, queue, cloudevents.batch_of(event), headers)


async def bury_unreadable(publisher: Publisher, queue: Queue, element: Unreadable) -> None:
    """Like `bury`."""
    log.error(
        "event buried",
        queue=queue.name,
        reason=element.reason[:_MOST_HEADER],
        size=len(element.content),
        trace_ids=[tracing.trace_id_of(element.traceparent)],
    )
    await _publish(publisher, queue, element.content, {"x-reason": "unreadable", "x-error": element.reason})


async def _publish(publisher: Publisher, queue: Queue, body: bytes, headers: dict[str, str]) -> None:
    metrics.EVENTS.labels(queue.name, "buried").inc()
    short = {name: value[:_MOST_HEADER] for name, value in headers.items()}
    pauses = backoff()
    while True:
        try:
            return await publisher.publish(QUEUE_EXCHANGE, queue.dead, body, short)
        except PublishError as error:
            log.warning("dead letter waits", queue=queue.name, error=str(error))
            await asyncio.sleep(next(pauses))
