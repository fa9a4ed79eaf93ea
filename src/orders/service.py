"""The use cases of the order service. Each owns its transaction."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from types import NoneType
from typing import Any

import orjson
from uuid_utils import uuid7

from orders import repository
from orders.domain import Draft, HistoryEntry, Labels, Order, Verdict, first_verdicts, is_final
from orders.products import Products
from orders.views import is_order_view, order_view
from orders.watch import Watch
from shared import pagination, tracing
from shared.batching import Batcher
from shared.cache import Cache
from shared.contracts.fields import DEFAULT_PAGE, has_shape
from shared.contracts.requests import OrderStatus
from shared.db import Connection, Database, LockedError
from shared.errors import AppError, Code, Detail
from shared.idempotency import InProgress, Key
from shared.messaging.outbox import Relay
from shared.pagination import MAX_ID, Page

# In seconds: the limit for a batch of verdicts, and the least time between the starts of two shared writes.
_APPLY_LIMIT = 10.0
_WRITE_SPACING = 0.01
# Of a cached page of orders.
_PAGE_TYPES = {"next": (str, NoneType), "orders": (list,)}


@dataclass(frozen=True, slots=True)
class Placed:
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

    def __init__(self, database: Database, cache: Cache, relay: Relay, products: Products, watch: Watch) -> None:
        self._database = database
        self._cache = cache
        self._relay = relay
        self._products = products
        self._watch = watch
        self._in_progress = InProgress()
        self._locked: set[int] = set()
        self._writes: Batcher[Draft, Order | None] = Batcher(self._write, spacing=_WRITE_SPACING)

    async def place(
        self,
        product_id: int,
        quantity: int,
        labels: Labels,
        key: Key | None = None,
        *,
        seen_price: Decimal | None = None,
    ) -> Placed:
        """Returns a pending order. Raises AppError NOT_FOUND for an unknown product, UNAVAILABLE, OUTCOME_UNKNOWN.

        With a reference it also raises DUPLICATE_REFERENCE, with `seen_price` PRICE_CHANGED unless the product, past
        all caches, has that price. With a key it also raises CONFLICT while a request with
        the same key is in progress, and IDEMPOTENCY_MISMATCH.
        """
        if key is None:
            return await self._place(product_id, quantity, labels, None, seen_price)
        with self._in_progress.claim(key):
            return await self._replay(key, labels) or await self._place(product_id, quantity, labels, key, seen_price)

    async def cancel(self, order_id: int) -> Order:
        """Returns the order, cancelled now or before. Raises AppError NOT_FOUND, CONFLICT if it is rejected."""
        trace = tracing.here()

        async def cancel(connection: Connection) -> Order | None:
            cancelled = await repository.cancel(connection, order_id, trace.trace_id, trace.traceparent)
            return cancelled or await repository.get(connection, order_id, "FOR UPDATE")

        order = await self._change(order_id, cancel)
        if order.status != OrderStatus.CANCELLED:
            raise AppError(Code.CONFLICT, f"The order is {order.status} and cannot be cancelled")
        self._relay.wake()
        self._watch.wake([order.id])
        return order

    async def change(self, order_id: int, metadata: str | None) -> Order:
        """Replaces the metadata. Raises AppError NOT_FOUND."""
        return await self._change(order_id, partial(repository.change, order_id=order_id, metadata=metadata))

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
        keys = {_cache_key(verdict.product_id) for verdict in verdicts}
        opened = self._database.transaction if suspects else self._database.connection
        locked: Collection[int] = ()
        async with self._cache.dropping(keys), opened(_APPLY_LIMIT) as connection:
            if suspects:
                order_ids = {*suspects, *(verdict.order_id for verdict in verdicts)}
                locked = self._locked = await repository.lock_free(connection, order_ids)
            free = [verdict for verdict in verdicts if verdict.order_id not in locked] if locked else verdicts
            statuses = await repository.apply(connection, first_verdicts(free))
            is_new = len(statuses) == len(verdicts)
            conflicts = [] if is_new else await repository.conflicting(connection, verdicts)
        self._watch.wake(statuses)
        blocked = {position for position, verdict in enumerate(verdicts) if verdict.order_id in locked}
        return Applied(list(statuses.values()), conflicts, sorted(blocked.difference(conflicts)))

    async def get(self, order_id: int) -> Order:
        """Raises AppError NOT_FOUND."""
        async with self._database.connection() as connection:
            order = await repository.get(connection, order_id)
        if order is None:
            raise _unknown(order_id)
        return order

    async def get_when_final(self, order_id: int, wait: float) -> Order:
        """Returns the order once it is final, or after `wait` seconds. Raises AppError NOT_FOUND, UNAVAILABLE."""
        deadline = asyncio.get_running_loop().time() + wait
        with self._watch.on(order_id) as changed:
            while True:
                changed.clear()
                order = await self.get(order_id)
                if is_final(order.status) or self._watch.closed:
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

    async def _place(
        self, product_id: int, quantity: int, labels: Labels, key: Key | None, seen_price: Decimal | None
    ) -> Placed:
        if self._relay.full:
            raise AppError(Code.UNAVAILABLE, "Too many orders wait to be processed", retry_after=10)
        product = await (self._products.get if seen_price is None else self._products.current)(product_id)
        if product is None:
            detail = Detail("productId", "There is no such product.")
            raise AppError(Code.NOT_FOUND, f"There is no product {product_id}", details=[detail])
        if seen_price not in (None, product.price):
            raise AppError(Code.PRICE_CHANGED, details=[Detail("unitPrice", f"The price is {product.price:.2f}.")])
        trace = tracing.here()
        draft = Draft(
            str(uuid7()),
            product_id,
            product.uid,
            quantity,
            product.price,
            trace.trace_id,
            trace.traceparent,
            labels,
            key,
        )
        order = await self._writes.submit(draft)
        if order:
            return Placed(order)
        # Another process has placed an order under this key since `place` looked for one.
        if key and (earlier := await self._replay(key, labels)):
            return earlier
        if labels.reference:
            async with self._database.connection() as connection:
                first_id = await repository.find_by_reference(connection, labels.reference)
            if first_id:
                detail = Detail("reference", f"The order {first_id} has it.")
                raise AppError(Code.DUPLICATE_REFERENCE, details=[detail])
        raise AppError(Code.CONFLICT, "A request with this Idempotency-Key is in progress", retry_after=1)

    async def _replay(self, key: Key, labels: Labels) -> Placed | None:
        async with self._database.connection() as connection:
            order = await repository.find_by_key(connection, key)
        return Placed(order.as_placed(labels.metadata), replayed=True) if order else None

    async def _change(self, order_id: int, work: Callable[[Connection], Awaitable[Order | None]]) -> Order:
        product_id = (await self.get(order_id)).product_id
        async with self._cache.dropping([_cache_key(product_id)]):
            order = await self._database.write(work, first=work)
        if order is None:
            raise _unknown(order_id)
        return order

    async def _write(self, drafts: list[Draft]) -> list[Order | None]:
        keys = {_cache_key(draft.product_id) for draft in drafts}
        again, first = partial(repository.place_again, drafts=drafts), partial(repository.place, drafts=drafts)
        async with self._cache.dropping(keys):
            stored = await self._database.write(again, first=first)
        self._relay.wake()
        return stored


def _unknown(order_id: int) -> AppError:
    return AppError(Code.NOT_FOUND, f"There is no order {order_id}")


def _cache_key(product_id: int) -> str:
    return f"orders:product:{product_id}"
