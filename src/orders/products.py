"""Products as the order service knows them: read from its own cache, else from the product service."""

from collections.abc import Collection
from functools import lru_cache, partial

import orjson
from marshmallow import ValidationError

from orders.domain import Product
from shared.cache import Cache
from shared.contracts.fields import Identity, Price
from shared.errors import AppError, Code
from shared.web.client import Reply, ServiceClient

_PRICE = Price(required=True)
_UID = Identity(allow_none=True)
_OK = 200
_NOT_FOUND = 404


class Products:
    """Reads through orders-redis; the product's own events drop it from there."""

    def __init__(self, cache: Cache, upstream: ServiceClient) -> None:
        self._cache = cache
        self._upstream = upstream

    async def get(self, product_id: int) -> Product | None:
        """None if there is no such product. Raises AppError UNAVAILABLE if neither cache nor service answers."""
        return await self._cache.get(
            _cache_key(product_id),
            partial(self._fetch, product_id, f"/products/{product_id}"),
            partial(_product, product_id),
        )

    async def current(self, product_id: int) -> Product | None:
        """Like `get`, past the caches of both services."""
        content = await self._fetch(product_id, f"/products?ids={product_id}")
        return None if content is None else _product(product_id, content)

    async def forget(self, product_ids: Collection[int]) -> None:
        await self._cache.drop([_cache_key(product_id) for product_id in product_ids])

    async def _fetch(self, product_id: int, target: str) -> bytes | None:
        try:
            return _cacheable(product_id, await self._upstream.request("GET", target))
        except (AppError, ValidationError, ValueError, KeyError, TypeError) as error:
            raise AppError(Code.UNAVAILABLE, "The product cannot be checked at the moment") from error


def _cacheable(product_id: int, reply: Reply) -> bytes | None:
    """Raises ValidationError, ValueError, KeyError or TypeError if the reply is no answer of the product service."""
    content = orjson.loads(reply.body)
    if reply.status == _NOT_FOUND and content["error"]["code"] == Code.NOT_FOUND:
        return None
    if reply.status != _OK:
        raise ValueError(f"status {reply.status}")
    found = content["data"]
    if found == []:
        return None
    [product] = found if isinstance(found, list) else [found]
    # The stock is left out: it would soon be stale, and the product service alone decides by it.
    kept = orjson.dumps({name: product.get(name) for name in ("id", "uid", "name", "price")})
    _product(product_id, kept)
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
