"""Products as the order service knows them: from its own cache, else from the product service."""

from collections.abc import Sequence
from decimal import Decimal

import orjson

from orders.domain import Product
from shared.cache import Cache
from shared.errors import AppError, Code
from shared.web.client import Reply, ServiceClient

_OK = 200
_NOT_FOUND = 404


class Products:
    """Read through orders-redis; an event of the product drops it there."""

    def __init__(self, cache: Cache, upstream: ServiceClient) -> None:
        self._cache = cache
        self._upstream = upstream

    async def find(self, product_id: int) -> Product | None:
        """None if there is none. Raises AppError UNAVAILABLE if it is not cached and the service cannot tell."""

        async def load() -> bytes | None:
            return await self._fetch(product_id)

        content = await self._cache.get(_cache_key(product_id), load)
        if content is None:
            return None
        product = orjson.loads(content)
        return Product(product["id"], Decimal(product["price"]))

    async def forget(self, product_ids: Sequence[int]) -> None:
        await self._cache.drop([_cache_key(product_id) for product_id in product_ids])

    async def _fetch(self, product_id: int) -> bytes | None:
        try:
            reply = await self._upstream.request("GET", f"/products/{product_id}")
            return _cached(reply)
        except (AppError, ValueError, KeyError, TypeError, ArithmeticError) as error:
            raise AppError(Code.UNAVAILABLE, "The product cannot be checked at the moment") from error


def _cached(reply: Reply) -> bytes | None:
    """Raises ValueError, KeyError, TypeError or ArithmeticError for what the product service does not say."""
    content = orjson.loads(reply.body)
    if reply.status == _NOT_FOUND and content["error"]["code"] == Code.NOT_FOUND:
        return None
    if reply.status != _OK:
        raise ValueError(f"status {reply.status}")
    product = content["data"]
    Decimal(product["price"])
    # Not its stock, which would be old as soon as it is cached and is not decided here.
    return orjson.dumps({"id": product["id"], "name": product["name"], "price": product["price"]})


def _cache_key(product_id: int) -> str:
    return f"product:{product_id}"
