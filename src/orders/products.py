"""Products as the order service knows them: read from its own cache, else from the product service."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import lru_cache, partial

import orjson
from marshmallow import ValidationError

from orders.domain import Product
from shared.cache import Cache
from shared.contracts.fields import Identity, Price
from shared.errors import AppError, Code
from shared.web.client import ServiceClient
from shared.web.exchange import Reply

_PRICE = Price(required=True)
_UID = Identity(allow_none=True)
_OK = 200
_NOT_FOUND = 404


class Products:
    """Reads through orders-redis; the product's own events drop it from there."""

    def __init__(self, cache: Cache, upstream: ServiceClient) -> None:
        self._cache = cache
        self._upstream = upstream

    async def find(self, product_ids: Sequence[int]) -> dict[int, Product]:
        """Those that exist; what is not cached is asked for in one request.

        Raises AppError UNAVAILABLE if neither cache nor service answers.
        """
        missing = _Missing(self._fetch)
        reads = [
            self._cache.get(_cache_key(product_id), partial(missing.load, product_id), partial(_product, product_id))
            for product_id in product_ids
        ]
        found = await asyncio.gather(*reads) if len(reads) > 1 else [await reads[0]]
        return {id_: product for id_, product in zip(product_ids, found, strict=True) if product}

    async def current(self, product_ids: Sequence[int]) -> dict[int, Product]:
        """Like `find`, past the caches of both services."""
        return {id_: _product(id_, content) for id_, content in (await self._fetch(product_ids, fresh=True)).items()}

    async def forget(self, product_ids: Collection[int]) -> None:
        await self._cache.drop([_cache_key(product_id) for product_id in product_ids])

    async def _fetch(self, product_ids: Sequence[int], *, fresh: bool = False) -> dict[int, bytes]:
        many = fresh or len(product_ids) > 1
        target = f"/products?ids={','.join(map(str, product_ids))}" if many else f"/products/{product_ids[0]}"
        try:
            return _cacheable(product_ids, await self._upstream.request("GET", target))
        except (AppError, ValidationError, ValueError, KeyError, TypeError) as error:
            raise AppError(Code.UNAVAILABLE, "The product cannot be checked at the moment") from error


class _Missing:
    """Loads the products of one order that are not cached, in one request: they are missed in the same turn."""

    def __init__(self, fetch: Callable[[Sequence[int]], Awaitable[Mapping[int, bytes]]]) -> None:
        self._fetch = fetch
        self._wanted: list[int] = []

    async def load(self, product_id: int) -> bytes | None:
        if not self._wanted:
            self._reply = asyncio.ensure_future(self._load())
        self._wanted.append(product_id)
        return (await asyncio.shield(self._reply)).get(product_id)

    async def _load(self) -> Mapping[int, bytes]:
        wanted, self._wanted = self._wanted, []
        return await self._fetch(wanted)


def _cacheable(product_ids: Sequence[int], reply: Reply) -> dict[int, bytes]:
    """Raises ValidationError, ValueError, KeyError or TypeError if the reply is no answer of the product service."""
    content = orjson.loads(reply.body)
    if reply.status == _NOT_FOUND and content["error"]["code"] == Code.NOT_FOUND:
        return {}
    if reply.status != _OK:
        raise ValueError(f"status {reply.status}")
    data = content["data"]
    # The stock is left out: it would soon be stale, and the product service alone decides by it.
    kept = {
        product["id"]: orjson.dumps({name: product.get(name) for name in ("id", "uid", "name", "price")})
        for product in (data if isinstance(data, list) else [data])
    }
    for product_id, product in kept.items():
        if product_id not in product_ids:
            raise ValueError("another product")
        _product(product_id, product)
    return kept


@lru_cache(maxsize=1024)  # a product that is ordered often is parsed once
def _product(product_id: int, content: bytes) -> Product:
    """Raises ValidationError, ValueError, KeyError or TypeError for JSON that is not of this product."""
    product = orjson.loads(content)
    if product["id"] != product_id:
        raise ValueError("another product")
    return Product(_UID.deserialize(product.get("uid")), _PRICE.deserialize(product["price"]))


def _cache_key(product_id: int) -> str:
    return f"product:{product_id}"
