"""Sends events again that may have been lost after they were sent, as with the disk of a broker or a deleted queue.

`order.created` of an order that stays pending: whatever lost the first one, or its answer, the order still finishes.
`order.cancelled`, which nothing answers, for a day: the stock comes back.
"""

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import structlog

from orders import repository
from orders.domain import Pending
from shared import tracing
from shared.db import Database
from shared.messaging.outbox import Relay

log = structlog.get_logger()

_PAGE = 1_000
# The oldest; a backlog longer than this is no accident that sending again would mend.
_MOST = 10_000


class Sweeper:
    """An order is announced again at the age of `stuck_after` seconds, and whenever its age has doubled since.

    The age of a pending order is that since it was placed; of a cancelled one that since it was cancelled.
    """

    def __init__(
        self, database: Database, relay: Relay, stuck_after: float, is_up: Callable[[], Awaitable[bool]]
    ) -> None:
        """`is_up` tells whether events can leave: while they cannot, none is lost, they wait in the outbox."""
        self._database = database
        self._relay = relay
        self._stuck_after = stuck_after
        self._is_up = is_up
        self._started_at = time.monotonic()
        self._swept_at: datetime | None = None
        self.interval = min(15.0, stuck_after / 4)

    async def sweep(self) -> None:
        if not await self._is_up():
            return
        async with self._database.connection() as connection:
            # The clock that the ages are of, read once: however late a query comes, no age falls between two sweeps.
            now = await repository.clock(connection)
        since = math.inf if self._swept_at is None else (now - self._swept_at).total_seconds()
        seen, last_id = 0, 0
        while seen < _MOST:
            async with self._database.connection() as connection:
                pending = await repository.pending(connection, now, last_id, _PAGE)
            await self._announce([order for order in pending if is_due(order.age, since, self._stuck_after)])
            seen += len(pending)
            if len(pending) < _PAGE:
                break
            last_id = pending[-1].id
        # After a start only what has come due just before: what did earlier comes due again.
        await self._sweep_cancelled(now, min(since, time.monotonic() - self._started_at + self.interval))
        self._swept_at = now

    async def _sweep_cancelled(self, now: datetime, since: float) -> None:
        async with self._database.connection() as connection:
            orders = await repository.cancelled(connection, now, self._stuck_after, since, _MOST)
        if orders:
            await self._write(orders)
            log.info(
                "cancellations announced again", orders=len(orders), trace_ids=[trace_id for _, trace_id in orders]
            )

    async def _announce(self, orders: Sequence[Pending]) -> None:
        if not orders:
            return
        await self._write([(order.id, order.trace_id) for order in orders])
        log.warning("stuck orders announced again", orders=len(orders), trace_ids=[order.trace_id for order in orders])

    async def _write(self, orders: Sequence[tuple[int, str]]) -> None:
        async with self._database.connection() as connection:
            await repository.announce_again(
                connection, [(order_id, tracing.resume(trace_id)) for order_id, trace_id in orders]
            )
        self._relay.wake()


def is_due(age: float, since: float, stuck_after: float) -> bool:
    """Whether the age, in seconds, has passed `stuck_after`, or that times a power of two, in the last `since`."""
    return _passed(age, stuck_after) > _passed(age - since, stuck_after)


def _passed(age: float, stuck_after: float) -> int:
    return 0 if age < stuck_after else 1 + math.floor(math.log2(age / stuck_after))
