"""The use cases of the product service. Each owns its transaction."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import uuid4

import asyncpg
import orjson

from products import repository
from products.domain import Movement, Product
from products.settlement import Request, Settlement, settle
from products.views import parse_product_view, product_view
from shared import pagination, tracing
from shared.cache import Cache
from shared.db import Connection, Database, LockedError
from shared.errors import AppError, Code, Detail
from shared.idempotency import Key
from shared.messaging.outbox import Relay
from shared.pagination import Page

# The limit for a batch of claims and releases, in seconds.
_SETTLE_LIMIT = 10.0


@dataclass(frozen=True, slots=True)
class Written:
    """The view of a product; `replayed` if an earlier request with the same key made the change."""

    product: dict[str, Any]
    replayed: bool = False


class Catalogue:
    """Shows and changes products."""

    def __init__(self, database: Database, cache: Cache, relay: Relay) -> None:
        self._database = database
        self._cache = cache
        self._relay = relay

    async def create(self, name: str, price: Decimal, qty: int, key: Key | None = None) -> Written:
        """Raises AppError IDEMPOTENCY_MISMATCH for the key."""
        insert = partial(repository.create, name=name, price=price, qty=qty, traceparent=tracing.here().traceparent)
        return await self._write(insert, None, key)

    async def change(
        self,
        product_id: int,
        versions: Collection[int] | None,
        name: str | None = None,
        price: Decimal | None = None,
        key: Key | None = None,
    ) -> Written:
        """Raises AppError NOT_FOUND, PRECONDITION_FAILED if `versions` lacks the product's, what `create` raises."""

        async def update(connection: Connection) -> Product:
            product = await repository.change(
                connection, product_id, name, price, versions=versions, traceparent=tracing.here().traceparent
            )
            if product is None:
                now = await _require(connection, product_id)
                detail = Detail("If-Match", f"The version is {now.version}.")
                raise AppError(Code.PRECONDITION_FAILED, "The product was changed meanwhile", details=[detail])
            return product

        return await self._write(update, product_id, key)

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

    async def get(self, product_id: int) -> dict[str, Any]:
        """Returns the view of the product. Raises AppError NOT_FOUND."""

        async def load() -> bytes | None:
            async with self._database.connection() as connection:
                product = await repository.get(connection, product_id)
            return _json(product_view(product)) if product else None

        product = await self._cache.get(_cache_key(product_id), load, partial(parse_product_view, product_id))
        if product is None:
            raise _unknown(product_id)
        return product

    async def page(self, limit: int, cursor: int) -> tuple[Sequence[Product], Page]:
        async with self._database.connection() as connection:
            rows = await repository.page(connection, cursor, limit + 1)
        return pagination.page_of(rows, limit)

    async def selected(self, product_ids: Sequence[int]) -> tuple[Sequence[Product], Page]:
        """The products that exist, in the order of their ids in `product_ids`, from the database."""
        async with self._database.connection() as connection:
            found = {product.id: product for product in await repository.selected(connection, product_ids)}
        return [found[id_] for id_ in product_ids if id_ in found], Page(len(product_ids), None)

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
        """`product_id` is None for a product that has no id yet."""
        keys = set() if product_id is None else {_cache_key(product_id)}
        # One that no client can send, so that a second attempt finds what the first one has done.
        kept_as = key or Key(f"service {uuid4()}", b"")

        async def write_once(connection: Connection) -> Written:
            if answer := await repository.take_key(connection, kept_as):
                return Written(answer, replayed=key is not None)
            product = await write(connection)
            keys.add(_cache_key(product.id))
            view = product_view(product)
            await repository.keep_answer(connection, kept_as, _json(view))
            return Written(view)

        async with self._cache.dropping(keys):
            written = await self._database.write(write_once)
        self._relay.wake()
        return written


class Stock:
    """Gives stock to orders and takes it back. It decides each order once and leaves no product below zero.

    A product that others keep locked holds up its own orders alone: once its lock was waited for in vain it is no
    longer waited for, until it was found free.
    """

    def __init__(self, database: Database, cache: Cache, relay: Relay) -> None:
        self._database = database
        self._cache = cache
        self._relay = relay
        self._locked: set[int] = set()

    async def settle(self, requests: Sequence[Request]) -> Settlement:
        """Decides each order, or repeats the answer that the order got before, and announces the answers."""
        product_ids = {line.product_id for request in requests for line in request.lines}
        try:
            return await self._settle(requests, product_ids, product_ids & self._locked)
        except asyncpg.UniqueViolationError:
            # Another process has just decided one of these orders, for a product that has no row to lock.
            return await self._settle(requests, product_ids, product_ids & self._locked)
        except LockedError:
            return await self._settle(requests, product_ids, product_ids)

    async def _settle(self, requests: Sequence[Request], product_ids: set[int], suspects: set[int]) -> Settlement:
        """The locks of `suspects` are not waited for."""
        # The keys of all requests are dropped: an earlier attempt may have committed some and not dropped theirs.
        keys = set(map(_cache_key, product_ids))
        locked: set[int] = set()
        async with self._cache.dropping(keys), self._database.transaction(_SETTLE_LIMIT) as connection:
            # The lock comes first, so that the reservations show what any other process has decided on these orders.
            stock = await repository.lock_stock(connection, product_ids - suspects)
            if suspects:
                free, locked = await repository.lock_free_stock(connection, suspects)
                stock |= free
                self._locked = self._locked - suspects | locked
            known = await repository.reservations(connection, list({request.order_id for request in requests}))
            settlement = settle(stock, known, requests, locked)
            if settlement.made or settlement.changed:
                await repository.settle(connection, settlement)
            answers = await repository.announce(connection, settlement.answers) if settlement.answers else []
        # Not from the outbox: if this process dies before, the claims come again and get the same answers.
        await self._relay.send(answers)
        return settlement


def _cache_key(product_id: int) -> str:
    return f"product:{product_id}"


async def _require(connection: Connection, product_id: int) -> Product:
    product = await repository.get(connection, product_id)
    if product is None:
        raise _unknown(product_id)
    return product


def _unknown(product_id: int) -> AppError:
    return AppError(Code.NOT_FOUND, f"There is no product {product_id}")


def _json(view: dict[str, Any]) -> bytes:
    return orjson.dumps(view, option=orjson.OPT_UTC_Z)
