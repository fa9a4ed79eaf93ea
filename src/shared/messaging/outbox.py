"""The transactional outbox: an event is a row of the transaction that caused it, and the relay publishes the rows.

The relay claims rows by deleting them, in a transaction that commits when the broker has confirmed. Any failure before
that rolls back and leaves the rows for the next try, so an event may be published twice and is never lost.
"""

import asyncio
import math
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, NoReturn

import asyncpg
import orjson
import structlog

from shared import metrics, spans, tracing
from shared.batching import pause_after
from shared.db import Connection, Database
from shared.errors import AppError
from shared.messaging import cloudevents, topology
from shared.messaging.cloudevents import Event
from shared.messaging.publisher import Publisher, PublishError, UnroutableError
from shared.tasks import backoff

log = structlog.get_logger()

MOST_ROWS = 1_000_000
_CLAIM_ROWS = 1_024
# A consumer has up to 512 messages in memory. An order of a hundred lines takes 10,000 characters, of one line 200.
_MESSAGE_EVENTS = 256
_MESSAGE_CHARACTERS = 100_000
_POLL = 1.0
# A lone event is published at once. Under load rounds start at least so many seconds apart, so that each carries many
# events and every later stage works in batches too.
_SPACING = 0.05
# A message that fails for a reason of its own is parked after so many tries, and not before its first event is so many
# seconds old: a queue or binding that was deleted is declared again meanwhile, by a consumer that has to start too.
_MOST_ATTEMPTS = 10
_PATIENCE = 60.0
# The publisher's limit, and time for the two statements around it.
_TRANSACTION = 8.0
# Seconds between two looks at all rows.
_LOOK = 10.0

_CLAIM = """
DELETE FROM outbox
WHERE id = ANY (ARRAY(SELECT id FROM outbox WHERE id >= $2 ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED))
RETURNING id, type, payload, traceparent, created_at, attempts
"""
# $1 to $5 hold one element for each row, in the order of _CLAIM.
_PUT_BACK = """
INSERT INTO outbox (id, type, payload, traceparent, created_at, attempts) OVERRIDING SYSTEM VALUE
SELECT *, $6::integer FROM unnest($1::bigint[], $2::text[], $3::json[], $4::text[], $5::timestamptz[])
"""
_PARK = """
INSERT INTO parked_events (id, type, payload, traceparent, created_at, attempts, last_error)
SELECT *, $6::integer, $7::text FROM unnest($1::bigint[], $2::text[], $3::json[], $4::text[], $5::timestamptz[])
"""

# The span of ids is at least the number of rows and costs a few index look-ups; rows are counted only if it is long.
_SPAN = """
SELECT coalesce(max(id) - min(id) + 1, 0) AS rows,
       coalesce(extract(epoch FROM now() - (
           SELECT created_at FROM outbox WHERE id >= $1 ORDER BY id LIMIT 1
       ))::float8, 0) AS age,
       (SELECT count(*) FROM parked_events) AS parked
FROM outbox
WHERE id >= $1
"""
_COUNT = "SELECT count(*) FROM outbox"


class Floor:
    """The id from which on rows are looked for, since an old snapshot keeps all that were deleted behind it.

    It is the last one that was claimed before the look at all rows before this one: what commits late, or with the ids
    of a restored database, is found by the next such look. Times are monotonic seconds.
    """

    def __init__(self) -> None:
        self.id = self._next = self.claimed = 0
        self._looked = -math.inf

    def begin(self, now: float) -> int:
        """Where this look begins."""
        if now - self._looked < _LOOK:
            return self.id
        self._looked = now
        self.id, self._next = self._next, self.claimed
        return 0


class Relay:
    """Publishes rows in the order of their ids: at once when woken, and every second for rows that a crash left."""

    def __init__(self, database: Database, publisher: Publisher, source: str) -> None:
        self._database = database
        self._publisher = publisher
        self._source = source
        self._woken = asyncio.Event()
        self._draining = asyncio.Lock()
        self._floor = Floor()
        self.full = False

    def wake(self) -> None:
        """Call after the commit that wrote rows."""
        self._woken.set()

    async def run(self) -> NoReturn:
        pauses = backoff(most=2.0)
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_POLL):
                    await self._woken.wait()
            self._woken.clear()
            started = time.monotonic()
            if await self._drain():
                pauses = backoff(most=2.0)
                await asyncio.sleep(pause_after(time.monotonic() - started, _SPACING))
            else:
                await asyncio.sleep(next(pauses))

    async def measure(self) -> None:
        """Updates `full` and the gauges; to be called every second or so."""
        async with self._database.connection() as connection:
            rows, age, parked = await connection.fetchrow(_SPAN, self._floor.id) or (0, 0, 0)
            if rows > MOST_ROWS:
                rows = await connection.fetchval(_COUNT)
        self.full = rows > MOST_ROWS
        metrics.OUTBOX.set(rows)
        metrics.OUTBOX_AGE.set(age)
        metrics.PARKED.set(parked)

    async def flush(self, limit: float) -> None:
        """Publishes what is left, for at most `limit` seconds; the next start publishes the rest."""
        try:
            async with asyncio.timeout(limit):
                await self._drain()
        except TimeoutError:
            log.warning("outbox not flushed in time")

    async def _drain(self) -> bool:
        """Publishes until no row is left; False if it could not go on."""
        if not self._publisher.connected:
            return False
        try:
            async with self._draining:  # else a flush would miss rows that the current round has claimed
                while await self._relay() == _CLAIM_ROWS:
                    pass
        except (PublishError, AppError) as error:
            log.warning("outbox waits", error=str(error), cause=repr(error.__cause__))
        except Exception:
            log.exception("outbox waits")  # a fault in the program or the schema: the rows stay for an operator
        else:
            return True
        self._floor = Floor()  # rows that were put back are below it
        return False

    async def _relay(self) -> int:
        """Returns how many rows were claimed; raises what makes some of them wait. Each message settles alone."""
        async with self._database.transaction(limit=_TRANSACTION) as connection:
            rows = await connection.fetch(_CLAIM, _CLAIM_ROWS, self._floor.begin(time.monotonic()))
            rows.sort(key=itemgetter("id"))
            failed = await self._publish(rows)
            if rows and sum(len(message) for message, error in failed if _is_passing(error)) == len(rows):
                raise failed[0][1]  # rolled back, which leaves the rows as they are
            for message, error in failed:
                await _set_aside(connection, message, error)
        if failed:
            raise failed[0][1]
        if rows:
            self._floor.claimed = rows[-1]["id"]
        return len(rows)

    async def send(self, rows: Sequence[asyncpg.Record]) -> None:
        """Publishes rows that are not in the outbox, because what causes them would come again, or puts them there."""
        if failed := await self._publish(rows):
            async with self._database.transaction() as connection:
                for message, error in failed:
                    await _set_aside(connection, message, error)

    async def _publish(self, rows: Sequence[asyncpg.Record]) -> list[tuple[list[asyncpg.Record], Exception]]:
        """Returns the messages that were not published, each with what prevented it."""
        messages = _messages(rows)
        errors = await asyncio.gather(*map(self._send, messages))
        failed = [(message, error) for message, error in zip(messages, errors, strict=True) if error]
        metrics.PUBLISHED.inc(len(rows) - sum(len(message) for message, _ in failed))
        return failed

    async def _send(self, message: Sequence[asyncpg.Record]) -> Exception | None:
        """Publishes events of one type; returns what prevented it."""
        try:
            events = ((row["traceparent"], None) for row in message)
            with spans.recorder.messages("publish", f"{topology.EXCHANGE}:{message[0]['type']}", events):
                body = cloudevents.encode([self._event(row) for row in message])
                await self._publisher.publish(topology.EXCHANGE, message[0]["type"], body)
        except Exception as error:  # noqa: BLE001  # it is settled with its message
            return error
        return None

    def _event(self, row: asyncpg.Record) -> Event:
        return Event(
            id=str(row["id"]),
            source=self._source,
            type=row["type"],
            time=row["created_at"],
            traceparent=row["traceparent"],
            data=orjson.Fragment(row["payload"]),
        )


def _is_passing(error: Exception) -> bool:
    """Whether the broker did not take a message at this time, which says nothing about the message."""
    return isinstance(error, PublishError) and not isinstance(error, UnroutableError)


async def _set_aside(connection: Connection, message: Sequence[asyncpg.Record], error: Exception) -> None:
    """Puts the rows back, or parks them if the tries are used up."""
    attempts = message[0]["attempts"] + (0 if _is_passing(error) else 1)
    age = (datetime.now(UTC) - message[0]["created_at"]).total_seconds()
    if _is_passing(error) or attempts < _MOST_ATTEMPTS or age < _PATIENCE:
        await connection.execute(_PUT_BACK, *_columns(message), attempts)
        return
    await connection.execute(_PARK, *_columns(message), attempts, f"{type(error).__name__}: {error}")
    log.error(
        "events parked",
        type=message[0]["type"],
        events=len(message),
        error=repr(error),
        trace_ids=[tracing.trace_id_of(row["traceparent"]) for row in message],
    )


def _messages(rows: Iterable[asyncpg.Record]) -> list[list[asyncpg.Record]]:
    """Rows that follow each other and are of one type go together, as long as their data is not too much."""
    messages: list[list[asyncpg.Record]] = []
    event_type, characters = None, 0
    for row in rows:
        characters += len(row["payload"])
        if row["type"] != event_type or characters > _MESSAGE_CHARACTERS or len(messages[-1]) == _MESSAGE_EVENTS:
            messages.append([])
            event_type, characters = row["type"], len(row["payload"])
        messages[-1].append(row)
    return messages


def _columns(rows: Sequence[asyncpg.Record]) -> list[list[Any]]:
    """Without the last one, `attempts`."""
    return [list(column) for column in zip(*rows, strict=True)][:-1]
