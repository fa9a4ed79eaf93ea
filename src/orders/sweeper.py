"""Announces orders again whose event may have been lost after it was sent, with a broker's disk or a deleted queue.

An order that stays pending gets another `order.created`: it finishes, whatever was lost. A cancelled order gets
another `order.cancelled` at growing intervals for a day, because no event answers that one: its stock comes back. So
does a held order that was confirmed or has expired.
"""

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import structlog

from orders import metrics, repository
from shared import tracing
from shared.db import Database
from shared.messaging.outbox import Relay

log = structlog.get_logger()

_PAGE = 1_000
# One sweep looks at the oldest orders only: announcing again does not mend a longer backlog.
_MAX_ORDERS = 10_000


class Sweeper:
    """Announces an order again at the age of `stuck_after` seconds, and whenever its age has doubled since.

    The age of a pending order counts from its placing, that of others from the change of their status.
    """

    def __init__(
        self, database: Database, relay: Relay, stuck_after: float, is_up: Callable[[], Awaitable[bool]]
    ) -> None:
        """`is_up` says whether events can leave. While they cannot, none is lost: they wait in the outbox."""
        self._database = database
        self._relay = relay
        self._stuck_after = stuck_after
        self._is_up = is_up
        self._started_at = time.monotonic()
        self._swept_at: datetime | None = None
        self.interval = min(15.0, stuck_after / 4)

    async def sweep(self) -> None:
        """Announces the orders that came due since the last sweep."""
        async with self._database.connection() as connection:
            # Ages count up to this one moment, so none falls between two sweeps, however late their queries run.
            now = await repository.database_now(connection)
            oldest = await repository.pending(connection, now, 0, 1)
        metrics.OLDEST_PENDING.set(oldest[0][2] if oldest else 0)
        if not await self._is_up():
            return
        since = math.inf if self._swept_at is None else (now - self._swept_at).total_seconds()
        await self._sweep_pending(now, since)
        # The first sweep takes only those that have just come due: older ones come due again.
        await self._sweep_unanswered(now, min(since, time.monotonic() - self._started_at + self.interval))
        self._swept_at = now

    async def _sweep_pending(self, now: datetime, since: float) -> None:
        seen, last_id = 0, 0
        while seen < _MAX_ORDERS:
            async with self._database.connection() as connection:
                pending = await repository.pending(connection, now, last_id, _PAGE)
            due = [(order_id, trace) for order_id, trace, age in pending if is_due(age, since, self._stuck_after)]
            if due:
                await self._announce(due)
                log.warning("stuck orders announced again", orders=len(due), trace_ids=[trace for _, trace in due])
            seen += len(pending)
            if len(pending) < _PAGE:
                break
            last_id, *_ = pending[-1]

    async def _sweep_unanswered(self, now: datetime, since: float) -> None:
        async with self._database.connection() as connection:
            due = await repository.unanswered(connection, now, self._stuck_after, since, _MAX_ORDERS)
        if due:
            await self._announce(due)
            log.info(
                "cancellations and ends of holds announced again",
                orders=len(due),
                trace_ids=[trace for _, trace in due],
            )

    async def _announce(self, orders: Sequence[tuple[int, str]]) -> None:
        """Takes the id and the trace id of each order."""
        async with self._database.connection() as connection:
            await repository.announce_again(
                connection, [(order_id, tracing.resume(trace_id)) for order_id, trace_id in orders]
            )
        self._relay.wake()


def is_due(age: float, since: float, stuck_after: float) -> bool:
    """Whether the age passed `stuck_after`, or that times a power of two, in the last `since` seconds."""
    return _passed(age, stuck_after) > _passed(age - since, stuck_after)


def _passed(age: float, stuck_after: float) -> int:
    return 0 if age < stuck_after else 1 + math.floor(math.log2(age / stuck_after))
