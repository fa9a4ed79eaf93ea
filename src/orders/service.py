"""The use cases of the order service; each owns its transaction."""

from collections.abc import Sequence

import orjson

from orders import repository
from orders.domain import Draft, Order, Verdict, first_verdicts, placed
from orders.products import Products
from shared import pagination, tracing
from shared.batching import Batcher
from shared.cache import Cache
from shared.contracts.fields import DEFAULT_PAGE
from shared.db import Database
from shared.envelope import Page
from shared.errors import AppError, Code, Detail
from shared.messaging.outbox import Relay
from shared.pagination import MAX_ID

_BATCH_LIMIT = 10.0
_SPACING = 0.01
_JSON = orjson.OPT_UTC_Z


class Orders:
    """Orders are written in batches: those that arrive while one transaction runs share the next."""

    def __init__(self, database: Database, cache: Cache, relay: Relay, products: Products) -> None:
        self._database = database
        self._cache = cache
        self._relay = relay
        self._products = products
        self._writes: Batcher[Draft, Order] = Batcher(self._write, spacing=_SPACING)

    async def place(self, product_id: int, quantity: int) -> Order:
        """A pending order. Raises AppError NOT_FOUND for an unknown product, UNAVAILABLE."""
        if self._relay.full:
            raise AppError(Code.UNAVAILABLE, "Too many orders wait to be processed", retry_after=10)
        product = await self._products.find(product_id)
        if product is None:
            detail = Detail("productId", "There is no such product.")
            raise AppError(Code.NOT_FOUND, f"There is no product {product_id}", details=[detail])
        trace = tracing.current.get() or tracing.begin()
        return await self._writes.submit(Draft(product.id, quantity, product.price, trace.trace_id, trace.traceparent))

    async def apply(self, verdicts: Sequence[Verdict]) -> list[str]:
        """The new status of each order that was pending until now."""
        async with self._database.connection(_BATCH_LIMIT) as connection:
            changes = await repository.apply(connection, first_verdicts(verdicts))
        await self._cache.drop({_cache_key(product_id) for product_id, _ in changes})
        return [status for _, status in changes]

    async def get(self, order_id: int) -> Order:
        """Raises AppError NOT_FOUND."""
        async with self._database.connection() as connection:
            order = await repository.get(connection, order_id)
        if order is None:
            raise AppError(Code.NOT_FOUND, f"There is no order {order_id}")
        return order

    async def page(
        self, limit: int, cursor: int, status: str | None = None, product_id: int | None = None
    ) -> tuple[Sequence[Order], Page]:
        async with self._database.connection() as connection:
            rows = await repository.page(connection, cursor, limit + 1, status=status, product_id=product_id)
        orders, more = pagination.split(rows, limit)
        return orders, Page(limit, pagination.encode_cursor(orders[-1].id) if more else None)

    async def page_of_product(self, product_id: int, limit: int, cursor: int) -> tuple[bytes, Page]:
        """JSON array of orders; the first page of the default size comes from the cache."""
        if (limit, cursor) != (DEFAULT_PAGE, MAX_ID):
            orders, page = await self.page(limit, cursor, product_id=product_id)
            return _array(orders), page

        async def load() -> bytes:
            orders, page = await self.page(limit, cursor, product_id=product_id)
            return orjson.dumps({"next": page.next, "orders": orjson.Fragment(_array(orders))})

        content = orjson.loads(await self._cache.get(_cache_key(product_id), load) or b"{}")
        return orjson.dumps(content["orders"]), Page(limit, content["next"])

    async def _write(self, drafts: list[Draft]) -> list[Order]:
        async with self._database.connection() as connection:
            stored = await repository.place(connection, drafts)
        self._relay.wake()
        await self._cache.drop({_cache_key(draft.product_id) for draft in drafts})
        return [placed(draft, order_id, at) for draft, (order_id, at) in zip(drafts, stored, strict=True)]


def _array(orders: Sequence[Order]) -> bytes:
    return orjson.dumps([order.as_json() for order in orders], option=_JSON)


def _cache_key(product_id: int) -> str:
    return f"orders:product:{product_id}"
