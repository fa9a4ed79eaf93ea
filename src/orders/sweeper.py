"""Sends `order.created` again for orders that stay pending: whatever lost the first one, the order still finishes."""

import math
import time
from collections.abc import Awaitable, Callable, Sequence

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
    """An order is announced again at the age of `stuck_after` seconds, and whenever its age has doubled since."""

    def __init__(
        self, database: Database, relay: Relay, stuck_after: float, is_up: Callable[[], Awaitable[bool]]
    ) -> None:
        """`is_up` tells whether events can leave: while they cannot, none is lost, they wait in the outbox."""
        self._database = database
        self._relay = relay
        self._stuck_after = stuck_after
        self._is_up = is_up
        self._swept_at: float | None = None
        self.interval = min(15.0, stuck_after / 4)

    async def sweep(self) -> None:
        if not await self._is_up():
            return
        now = time.monotonic()
        since = math.inf if self._swept_at is None else now - self._swept_at
        seen, last_id = 0, 0
        while seen < _MOST:
            async with self._database.connection() as connection:
                pending = await repository.pending(connection, last_id, _PAGE)
            await self._announce([order for order in pending if is_due(order.age, since, self._stuck_after)])
            seen += len(pending)
            if len(pending) < _PAGE:
                break
            last_id = pending[-1].id
        self._swept_at = now

    async def _announce(self, orders: Sequence[Pending]) -> None:
        if not orders:
            return
        async with self._database.connection() as connection:
            await repository.announce_again(
                connection, [(order.id, tracing.resume(order.trace_id)) for order in orders]
            )
        self._relay.wake()
        log.warning("stuck orders announced again", orders=len(orders), trace_ids=[order.trace_id for order in orders])


def is_due(age: float, since: float, stuck_after: float) -> bool:
    """Whether the age, in seconds, has passed `stuck_after`, or that times a power of two, in the last `since`."""
    return _passed(age, stuck_after) > _passed(age - since, stuck_after)


def _passed(age: float, stuck_after: float) -> int:
    return 0 if age < stuck_after else 1 + math.floor(math.log2(age / stuck_after))
