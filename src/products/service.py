"""The use cases of the product service; each owns its transaction."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal

import asyncpg
import orjson

from products import repository
from products.domain import Movement, Product
from products.settlement import Claim, Release, Settlement, settle
from shared import pagination, tracing
from shared.cache import Cache
from shared.db import Connection, Database
from shared.errors import AppError, Code, Detail
from shared.idempotency import InProgress, Key
from shared.messaging.outbox import Relay
from shared.pagination import Page

_BATCH_LIMIT = 10.0


@dataclass(frozen=True, slots=True)
class Written:
    """A product after a change, as JSON; `replayed` if the change was made by an earlier request with the same key."""

    content: bytes
    replayed: bool = False


class Catalogue:
    """Products as the API shows and changes them."""

    def __init__(self, database: Database, cache: Cache, relay: Relay) -> None:
        self._database = database
        self._cache = cache
        self._relay = relay
        self._in_progress = InProgress()

    async def create(self, name: str, price: Decimal, qty: int, key: Key | None = None) -> Written:
        """Raises AppError CONFLICT or IDEMPOTENCY_MISMATCH for the key."""

        async def insert(connection: Connection) -> Product:
            return await repository.create(connection, name, price, qty, _traceparent())

        return await self._write(insert, None, key)

    async def change(
        self, product_id: int, versions: Collection[int] | None, name: str | None = None, price: Decimal | None = None
    ) -> Written:
        """Raises AppError NOT_FOUND, PRECONDITION_FAILED if the version is none of `versions`."""

        async def update(connection: Connection) -> Product:
            product = await repository.change(
                connection, product_id, name, price, versions=versions, traceparent=_traceparent()
            )
            if product is None:
                now = await _require(connection, product_id)
                detail = Detail("If-Match", f"The version is {now.version}.")
                raise AppError(Code.PRECONDITION_FAILED, "The product was changed meanwhile", details=[detail])
            return product

        return await self._write(update, product_id)

    async def adjust(self, product_id: int, delta: int, reason: str, key: Key | None = None) -> Written:
        """Raises AppError NOT_FOUND, CONFLICT if the stock would leave its limits, and what `create` raises."""

        async def update(connection: Connection) -> Product:
            product = await repository.adjust(connection, product_id, delta, reason)
            if product is None:
                now = await _require(connection, product_id)
                detail = Detail("delta", f"The stock is {now.qty}.")
                raise AppError(Code.CONFLICT, "The stock would leave its limits", details=[detail])
            return product

        return await self._write(update, product_id, key)

    async def get(self, product_id: int) -> bytes:
        """JSON. Raises AppError NOT_FOUND."""

        async def load() -> bytes | None:
            async with self._database.connection() as connection:
                product = await repository.get(connection, product_id)
            return None if product is None else _json(product)

        product = await self._cache.get(cache_key(product_id), load)
        if product is None:
            raise _unknown(product_id)
        return product

    async def page(self, limit: int, cursor: int) -> tuple[Sequence[Product], Page]:
        async with self._database.connection() as connection:
            rows = await repository.page(connection, cursor, limit + 1)
        return pagination.page_of(rows, limit)

    async def movements(self, product_id: int, limit: int, cursor: int) -> tuple[Sequence[Movement], Page]:
        """Raises AppError NOT_FOUND."""
        async with self._database.connection() as connection:
            rows = await repository.movements(connection, product_id, cursor, limit + 1)
            if not rows:
                await _require(connection, product_id)
        return pagination.page_of(rows, limit)

    async def _write(
        self, write: Callable[[Connection], Awaitable[Product]], product_id: int | None, key: Key | None = None
    ) -> Written:
        if key is None:
            return await self._commit(write, product_id)
        with self._in_progress.claim(key):
            try:
                return await self._commit(write, product_id, key)
            except (asyncpg.UniqueViolationError, AppError) as error:
                if isinstance(error, AppError) and error.code is not Code.CONFLICT:
                    raise
                # Another process may just have done it, and with it taken the last of the stock: then its answer is
                # there now.
                return await self._commit(write, product_id, key)

    async def _commit(
        self, write: Callable[[Connection], Awaitable[Product]], product_id: int | None, key: Key | None = None
    ) -> Written:
        """`product_id` is None of a product that has no id yet."""
        keys = set() if product_id is None else {cache_key(product_id)}
        async with self._cache.dropping(keys), self._database.transaction() as connection:
            if key and (content := await repository.first_answer(connection, key)):
                return Written(content, replayed=True)
            product = await write(connection)
            keys.add(cache_key(product.id))
            content = _json(product)
            if key:
                await repository.keep_answer(connection, key, content)
        self._relay.wake()
        return Written(content)


class Stock:
    """Gives stock to orders and takes it back: each order once, no product below zero."""

    def __init__(self, database: Database, cache: Cache, relay: Relay) -> None:
        self._database = database
        self._cache = cache
        self._relay = relay

    async def settle(self, requests: Sequence[Claim | Release]) -> Settlement:
        """Decides each order, or repeats the answer that it got before, and announces the answers."""
        try:
            return await self._settle(requests)
        except asyncpg.UniqueViolationError:
            # Another process decided one of these orders at the same time, for a product that has no row to lock.
            return await self._settle(requests)

    async def _settle(self, requests: Sequence[Claim | Release]) -> Settlement:
        # Of all of them: a try before this one may have changed what this one finds done.
        keys = {cache_key(request.product_id) for request in requests}
        async with self._cache.dropping(keys), self._database.transaction(_BATCH_LIMIT) as connection:
            # The lock comes first: whoever decides the same order at the same time is then seen in its reservation.
            stock = await repository.lock_stock(connection, sorted({request.product_id for request in requests}))
            known = await repository.reservations(connection, list({request.order_id for request in requests}))
            settlement = settle(stock, known, requests)
            if settlement.made or settlement.ended:
                await repository.settle(connection, settlement)
            if settlement.answers:
                await repository.announce(connection, settlement.answers)
        self._relay.wake()
        return settlement


def cache_key(product_id: int) -> str:
    return f"product:{product_id}"


async def _require(connection: Connection, product_id: int) -> Product:
    product = await repository.get(connection, product_id)
    if product is None:
        raise _unknown(product_id)
    return product


def _unknown(product_id: int) -> AppError:
    return AppError(Code.NOT_FOUND, f"There is no product {product_id}")


def _json(product: Product) -> bytes:
    return orjson.dumps(product.as_json(), option=orjson.OPT_UTC_Z)


def _traceparent() -> str | None:
    trace = tracing.current.get()
    return trace.traceparent if trace else None
