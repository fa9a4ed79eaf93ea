"""The use cases of the product service; each owns its transaction."""

from collections.abc import Sequence
from decimal import Decimal

import asyncpg
import orjson

from products import repository
from products.domain import Claim, Outcome, allocate, taken
from products.repository import Product
from shared import pagination, tracing
from shared.cache import Cache
from shared.db import Database
from shared.envelope import Page
from shared.errors import AppError, Code
from shared.messaging.outbox import Relay

_BATCH_LIMIT = 10.0


class Catalogue:
    """Products as the API shows them."""

    def __init__(self, database: Database, cache: Cache, relay: Relay) -> None:
        self._database = database
        self._cache = cache
        self._relay = relay

    async def create(self, name: str, price: Decimal, qty: int) -> Product:
        trace = tracing.current.get()
        async with self._database.transaction() as connection:
            product = await repository.create(connection, name, price, qty, trace.traceparent if trace else None)
        self._relay.wake()
        await self._cache.drop([cache_key(product.id)])
        return product

    async def get(self, product_id: int) -> bytes:
        """JSON. Raises AppError NOT_FOUND."""

        async def load() -> bytes | None:
            async with self._database.connection() as connection:
                product = await repository.get(connection, product_id)
            return None if product is None else orjson.dumps(product.as_json(), option=orjson.OPT_UTC_Z)

        product = await self._cache.get(cache_key(product_id), load)
        if product is None:
            raise AppError(Code.NOT_FOUND, f"There is no product {product_id}")
        return product

    async def page(self, limit: int, cursor: int) -> tuple[Sequence[Product], Page]:
        async with self._database.connection() as connection:
            rows = await repository.page(connection, cursor, limit + 1)
        products, more = pagination.split(rows, limit)
        return products, Page(limit, pagination.encode_cursor(products[-1].id) if more else None)


class Stock:
    """Gives stock to orders: each order once, no product below zero."""

    def __init__(self, database: Database, cache: Cache, relay: Relay) -> None:
        self._database = database
        self._cache = cache
        self._relay = relay

    async def take(self, claims: Sequence[Claim]) -> list[Outcome]:
        """Decides each claim, or repeats the answer that its order got before, and announces all of them."""
        try:
            return await self._take(claims)
        except asyncpg.UniqueViolationError:
            # Another process decided one of these orders at the same time, for a product that has no row to lock.
            return await self._take(claims)

    async def _take(self, claims: Sequence[Claim]) -> list[Outcome]:
        by_order = {claim.order_id: claim for claim in claims}
        async with self._database.transaction(_BATCH_LIMIT) as connection:
            # The lock comes first: whoever decides the same order at the same time is then seen in its reservation.
            stock = await repository.lock_stock(connection, sorted({claim.product_id for claim in claims}))
            known = await repository.reservations(connection, claims)
            decided = allocate(stock, (claim for order_id, claim in by_order.items() if order_id not in known))
            outcomes = [*known.values(), *decided]
            if decided:
                await repository.take_stock(connection, decided)
            await repository.announce(connection, outcomes)
        self._relay.wake()
        await self._cache.drop([cache_key(product_id) for product_id in taken(decided)])
        return outcomes


def cache_key(product_id: int) -> str:
    return f"product:{product_id}"
