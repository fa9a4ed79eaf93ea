"""The use cases of the order service. Each owns its transaction."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import NoneType
from typing import Any, NamedTuple

import orjson
import structlog

from orders import metrics, repository
from orders.domain import (
    Draft,
    HistoryEntry,
    Line,
    Order,
    Terms,
    Verdict,
    check_lines,
    draft,
    first_verdicts,
    is_final,
    product_ids,
)
from orders.products import Products
from orders.views import is_order_view, order_view
from orders.watch import Watch
from shared import pagination, tracing
from shared.batching import Batcher
from shared.cache import Cache
from shared.contracts.fields import DEFAULT_PAGE, MAX_HOLD, has_shape
from shared.contracts.requests import OrderStatus
from shared.db import Connection, Database, LockedError
from shared.errors import AppError, Code, Detail, invalid_field
from shared.idempotency import Key
from shared.messaging.outbox import Relay
from shared.pagination import MAX_ID, Page

log = structlog.get_logger()

# In seconds: the limit for a batch of verdicts or ends of holds, and the least time between two shared writes' starts.
_BATCH_LIMIT = 10.0
_WRITE_SPACING = 0.01
_EXPIRED_AT_ONCE = 500
# Of a cached page of orders.
_PAGE_TYPES = {"next": (str, NoneType), "orders": (list,)}


class Placed(NamedTuple):
    """`replayed` if an earlier request with the same key placed the order."""

    order: Order
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Applied:
    """The new statuses, and the positions of the verdicts on orders that a restored database has lost.

    Another order has the number of such an order now. `blocked` holds those of verdicts on orders that are locked.
    """

    statuses: list[str]
    conflicts: list[int]
    blocked: list[int]


class Orders:
    """Places, cancels and shows orders, and applies verdicts. Orders that arrive while a write runs share the next."""

    def __init__(
        self,
        database: Database,
        cache: Cache,
        relay: Relay,
        products: Products,
        watch: Watch,
        *,
        lines_and_holds: bool,
    ) -> None:
        """`lines_and_holds` tells whether orders of several products, and holds, are accepted."""
        self._lines_and_holds = lines_and_holds
        self._database = database
        self._cache = cache
        self._relay = relay
        self._products = products
        self._watch = watch
        self._locked: set[int] = set()
        self._writes: Batcher[Draft, Order | None] = Batcher(self._write, spacing=_WRITE_SPACING, span="INSERT orders")

    async def place(self, lines: Sequence[Line], terms: Terms, key: Key | None = None) -> Placed:
        """Returns a pending order. Raises AppError NOT_FOUND for an unknown product, UNAVAILABLE, OUTCOME_UNKNOWN.

        With a reference it also raises DUPLICATE_REFERENCE, with the price of a line PRICE_CHANGED unless its product,
        past all caches, has that price. With a key it also raises IDEMPOTENCY_MISMATCH. It raises CONFLICT for several
        lines or a hold if they are not turned on.
        """
        earlier = await self._replay(key, terms) if key else None
        return earlier or await self._place(lines, terms, key)

    async def cancel(self, order_id: int) -> Order:
        """Returns the order, cancelled now or before. Raises AppError NOT_FOUND, CONFLICT, EXPIRED."""
        order = await self._end(order_id, repository.CANCEL)
        if order.status != OrderStatus.CANCELLED:
            raise _refusal(order, "cancelled")
        return order

    async def confirm(self, order_id: int) -> Order:
        """Ends the hold of an order for good, now or before. Raises AppError NOT_FOUND, CONFLICT, EXPIRED."""
        order = await self._end(order_id, repository.CONFIRM)
        if order.status != OrderStatus.DONE or order.expires_at is None:
            raise _refusal(order, "confirmed")
        return order

    async def hold(self, order_id: int, seconds: int) -> Order:
        """Holds an order for so long from now on. Raises AppError NOT_FOUND, CONFLICT, EXPIRED, VALIDATION_ERROR."""
        order, extended, trace = await self.get(order_id), False, tracing.here()

        async def extend(connection: Connection) -> Order | None:
            nonlocal extended
            longer = await repository.extend(connection, order_id, seconds)
            extended = longer is not None
            return longer or await repository.lock(connection, order_id, trace)

        if order.status == OrderStatus.HELD:
            order = await self._change(order, extend)
        if not extended and order.status == OrderStatus.HELD:
            raise invalid_field("holdSeconds", f"The hold must end within {MAX_HOLD} s from the order's making.")
        if not extended:
            raise _refusal(order, "held for longer")
        return order

    async def expire(self) -> None:
        """Ends the holds whose end has come, those of orders that others change at this moment excepted."""
        found = _EXPIRED_AT_ONCE
        while found == _EXPIRED_AT_ONCE:
            keys: set[str] = set()
            async with self._cache.dropping(keys), self._database.transaction(_BATCH_LIMIT) as connection:
                overdue = await repository.lock_overdue(connection, _EXPIRED_AT_ONCE)
                traces = [(order_id, tracing.begin(tracing.resume(trace_id))) for order_id, trace_id in overdue]
                expired = await repository.change_status(connection, repository.EXPIRE, traces) if traces else []
                keys |= {_cache_key(product_id) for order in expired for product_id in order.product_ids}
            if expired:
                log.info("orders expired", orders=len(expired), trace_ids=[order.trace_id for order in expired])
                self._relay.wake()
                self._watch.wake([order.id for order in expired])
            found = len(expired)

    async def change(self, order_id: int, metadata: str | None) -> Order:
        """Replaces the metadata. Raises AppError NOT_FOUND."""
        work = partial(repository.change, order_id=order_id, metadata=metadata)
        return await self._change(await self.get(order_id), work)

    async def apply(self, verdicts: Sequence[Verdict]) -> Applied:
        """Sets the status of each order that was pending until now.

        Once the lock of an order was waited for in vain no lock is waited for, until all of those orders are free.
        """
        try:
            return await self._apply(verdicts, self._locked)
        except LockedError:
            return await self._apply(verdicts, {verdict.order_id for verdict in verdicts})

    async def _apply(self, verdicts: Sequence[Verdict], suspects: Collection[int]) -> Applied:
        # The keys of all verdicts are dropped: an earlier attempt may have committed some and not dropped theirs.
        keys = {_cache_key(product_id) for verdict in verdicts for product_id in verdict.product_ids}
        opened = self._database.transaction if suspects else self._database.connection
        locked: Collection[int] = ()
        async with self._cache.dropping(keys), opened(_BATCH_LIMIT) as connection:
            if suspects:
                order_ids = {*suspects, *(verdict.order_id for verdict in verdicts)}
                locked = self._locked = await repository.lock_free(connection, order_ids)
            free = [verdict for verdict in verdicts if verdict.order_id not in locked] if locked else verdicts
            decided = await repository.apply(connection, first_verdicts(free))
            is_new = len(decided) == len(verdicts)
            conflicts = [] if is_new else await repository.conflicting(connection, verdicts)
        self._watch.wake(decided)
        metrics.observe_decisions(decided.values())
        blocked = {position for position, verdict in enumerate(verdicts) if verdict.order_id in locked}
        return Applied([status for status, *_ in decided.values()], conflicts, sorted(blocked.difference(conflicts)))

    async def get(self, order_id: int) -> Order:
        """Raises AppError NOT_FOUND."""
        async with self._database.connection() as connection:
            order = await repository.get(connection, order_id)
        if order is None:
            raise _unknown(order_id)
        return order

    async def get_when_decided(self, order_id: int, wait: float) -> Order:
        """Returns the order once it is decided, or after `wait` seconds. Raises AppError NOT_FOUND, UNAVAILABLE."""
        deadline = asyncio.get_running_loop().time() + wait
        with self._watch.on(order_id) as changed:
            while True:
                changed.clear()
                order = await self.get(order_id)
                if order.status != OrderStatus.PENDING or self._watch.closed:
                    return order
                try:
                    async with asyncio.timeout_at(deadline):
                        await changed.wait()
                except TimeoutError:
                    return order

    async def history(self, order_id: int) -> Sequence[HistoryEntry]:
        """Oldest first. Raises AppError NOT_FOUND."""
        async with self._database.connection() as connection:
            entries = await repository.history(connection, order_id)
        if not entries:
            raise _unknown(order_id)
        return entries

    async def follow(
        self, order_id: int, seen: int, heartbeat: float
    ) -> AsyncGenerator[Sequence[tuple[int, HistoryEntry]], None]:
        """Yields the entries after position `seen` with their positions, and then new ones as they come.

        Yields an empty list after `heartbeat` seconds without a new one. Ends when the order is final, at once if it
        is and has none after `seen`, and when the process stops. Raises AppError NOT_FOUND, UNAVAILABLE.
        """
        with self._watch.on(order_id) as changed:
            while True:
                changed.clear()
                history = await self.history(order_id)
                final = is_final(history[-1].status)
                if seen < len(history) or not final:
                    yield list(enumerate(history, 1))[seen:]
                if final or self._watch.closed:
                    return
                seen = max(seen, len(history))
                with suppress(TimeoutError):
                    async with asyncio.timeout(heartbeat):
                        await changed.wait()

    async def page(self, limit: int, cursor: int, **selected: str | int | None) -> tuple[Sequence[Order], Page]:
        """Of the orders that `OrdersQuery` selects."""
        async with self._database.connection() as connection:
            rows = await repository.page(connection, cursor, limit + 1, **selected)
        return pagination.page_of(rows, limit)

    async def page_of_product(self, product_id: int, limit: int, cursor: int) -> tuple[list[dict[str, Any]], Page]:
        """Returns views of orders. The first page of the default size comes from the cache."""
        if (limit, cursor) != (DEFAULT_PAGE, MAX_ID):
            orders, page = await self.page(limit, cursor, product_id=product_id)
            return [order_view(order) for order in orders], page

        async def load() -> bytes:
            orders, page = await self.page(limit, cursor, product_id=product_id)
            content = {"next": page.next, "orders": [order_view(order) for order in orders]}
            return orjson.dumps(content, option=orjson.OPT_UTC_Z)

        def parse(content: bytes) -> tuple[list[dict[str, Any]], Page]:
            page = orjson.loads(content)
            if not has_shape(page, _PAGE_TYPES) or not all(is_order_view(product_id, each) for each in page["orders"]):
                raise ValueError("not a page of orders")
            return page["orders"], Page(limit, page["next"])

        return await self._cache.get(_cache_key(product_id), load, parse) or ([], Page(limit, None))

    async def _place(self, lines: Sequence[Line], terms: Terms, key: Key | None) -> Placed:
        if self._relay.full:
            raise AppError(Code.UNAVAILABLE, "Too many orders wait to be processed", retry_after=10)
        if not self._lines_and_holds and (len(lines) > 1 or terms.hold_seconds):
            raise AppError(Code.CONFLICT, "Orders of several products, and holds, are not turned on yet")
        is_priced = any(line.unit_price is not None for line in lines)
        read = self._products.current if is_priced else self._products.find
        products = await read([line.product_id for line in lines])
        check_lines(lines, products)
        order = await self._writes.submit(draft(lines, products, terms, tracing.here(), key))
        if order:
            return Placed(order)
        # Another request has placed an order under this key since `place` looked for one.
        if key and (earlier := await self._replay(key, terms)):
            return earlier
        if terms.reference:
            async with self._database.connection() as connection:
                first_id = await repository.find_by_reference(connection, terms.reference)
            if first_id:
                detail = Detail("reference", f"The order {first_id} has it.")
                raise AppError(Code.DUPLICATE_REFERENCE, details=[detail])
        raise AppError(Code.UNAVAILABLE, "The order that had the key or the reference has just gone")

    async def _replay(self, key: Key, terms: Terms) -> Placed | None:
        async with self._database.connection() as connection:
            order = await repository.find_by_key(connection, key)
        return Placed(order.as_placed(terms), replayed=True) if order else None

    async def _end(self, order_id: int, statement: str) -> Order:
        """Returns the order, changed now or as it is if its status does not allow it. Raises AppError NOT_FOUND."""
        trace = tracing.here()

        async def change(connection: Connection) -> Order | None:
            changed = await repository.change_status(connection, statement, [(order_id, trace)])
            return changed[0] if changed else await repository.lock(connection, order_id, trace)

        return await self._change(await self.get(order_id), change)

    async def _change(self, order: Order, work: Callable[[Connection], Awaitable[Order | None]]) -> Order:
        async with self._cache.dropping([_cache_key(product_id) for product_id in order.product_ids]):
            changed = await self._database.write(work, first=work)
        if changed is None:
            raise _unknown(order.id)
        self._relay.wake()
        self._watch.wake([order.id])
        return changed

    async def _write(self, drafts: list[Draft]) -> list[Order | None]:
        keys = {_cache_key(id_) for draft in drafts for id_ in product_ids(draft.product_id, draft.lines)}
        again, first = partial(repository.place_again, drafts=drafts), partial(repository.place, drafts=drafts)
        async with self._cache.dropping(keys):
            stored = await self._database.write(again, first=first)
        self._relay.wake()
        return stored


def _refusal(order: Order, wanted: str) -> AppError:
    """Why an order of this status cannot be what a client wanted."""
    if order.status == OrderStatus.EXPIRED:
        return AppError(Code.EXPIRED)
    lacks_hold = order.expires_at is None and wanted != "cancelled"
    message = f"The order is {order.status}{', without a hold,' if lacks_hold else ''} and cannot be {wanted}"
    may_come = not lacks_hold and order.status in (OrderStatus.PENDING, OrderStatus.HELD)
    return AppError(Code.CONFLICT, message, retry_after=1 if may_come else None)


def _unknown(order_id: int) -> AppError:
    return AppError(Code.NOT_FOUND, f"There is no order {order_id}")


def _cache_key(product_id: int) -> str:
    return f"orders:product:{product_id}"
