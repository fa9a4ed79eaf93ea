"""A change is seen at once in answers that come from a cache."""

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
from redis.asyncio import Redis

from shared.cache import Cache
from tests.api import Api
from tests.integration.services.verdicts import ORDER, PRODUCT_UID
from tests.waiting import eventually

LAMP = {"name": "Desk lamp", "price": "19.90", "qty": 10}
LIST = "/orders/product/7"


class Write(NamedTuple):
    """The nth write of one kind, and what the read answer shows after it: n."""

    service: str
    write: Callable[[Api, int], Awaitable[object]]
    shown: Callable[[Any], int]


WRITES = {
    "place": Write("orders", lambda api, n: api.post("/orders", ORDER), len),
    "cancel": Write(
        "orders",
        lambda api, n: api.request("POST", f"/orders/{n}/cancel"),
        lambda orders: sum(order["status"] == "cancelled" for order in orders),
    ),
    "label": Write(
        "orders",
        lambda api, n: api.request("PATCH", f"/orders/{n}", json={"metadata": {"n": str(n)}}),
        lambda orders: sum(order["metadata"] == {"n": str(order["id"])} for order in orders),
    ),
    "reprice": Write(
        "products",
        lambda api, n: api.request("PATCH", "/products/1", json={"price": n}),
        lambda product: int(product["price"].removesuffix(".00")),
    ),
    "adjust": Write(
        "products",
        lambda api, n: api.post("/products/1/stock", {"delta": -1, "reason": "broken"}),
        lambda product: 10 - int(product["qty"]),
    ),
}


@pytest.fixture(params=WRITES)
def service(request: pytest.FixtureRequest) -> tuple[Write, Api, Redis]:
    """A kind of write, its service and that service's Redis; the other service does not run."""
    write = WRITES[request.param]
    redis = {"orders": "orders_redis", "products": "redis"}[write.service]
    return write, request.getfixturevalue(f"{write.service}_api"), request.getfixturevalue(redis)


async def test_a_client_reads_its_own_write_though_the_answer_was_cached(service: tuple[Write, Api, Redis]) -> None:
    (name, write, shown), api, redis = service
    path, key = (LIST, "orders:product:7") if name == "orders" else ("/products/1", "product:1")
    if name == "products":
        await api.post("/products", LAMP)
    elif shown is not len:
        for _ in range(10):
            await api.post("/orders", ORDER)

    async def is_cached() -> bool:
        await api.get(path)
        return bool(await redis.exists(key))

    seen = []
    for n in range(1, 11):
        await eventually(is_cached)
        await write(api, n)
        seen.append(shown((await api.get(path)).data))

    assert seen == list(range(1, 11))


async def test_a_product_is_read_through_the_cache_and_found_once_it_is_there(products_api: Api, redis: Redis) -> None:
    before = await products_api.get("/products/1")
    written = (await products_api.post("/products", LAMP)).data

    async def is_cached() -> bool:
        assert (await products_api.get("/products/1")).data == written
        return bool(json.loads(await redis.get("product:1") or "null") == written)

    await eventually(is_cached)
    assert before.refusal == (404, "not_found", [])


async def test_a_write_that_fails_drops_its_keys_too_since_it_may_be_committed(cache: Cache, redis: Redis) -> None:
    rows = {"old row": b"1", "new row": b"null"}

    async def read() -> list[bytes | None]:
        return [await cache.get(key, partial(load, key), bytes) for key in rows]

    async def load(key: str) -> bytes:
        return rows[key]

    async def both_are_cached() -> bool:
        await read()
        return await redis.exists(*rows) == len(rows)

    async def write() -> None:
        keys = ["old row"]
        async with cache.dropping(keys):
            keys.append("new row")
            rows.update(dict.fromkeys(rows, b"2"))
            raise TimeoutError

    await eventually(both_are_cached)
    with pytest.raises(TimeoutError):
        await write()

    assert await read() == [b"2", b"2"]


OF_PRODUCT = b"""
    "uid": "%s", "name": "Lamp", "price": "0.01", "qty": 1, "held": 0, "version": 1, "createdAt": "", "updatedAt": ""
""" % PRODUCT_UID.encode()
OF_LINE = b'"quantity": 1, "unitPrice": "0.01", "totalPrice": "0.01"'
OTHERS_ORDER = b"""{
    "id": 1, "lines": [{"productId": 8, %s}], "productId": 8, %s, "status": "done", "reason": null, "shortages": [],
    "expiresAt": null, "traceId": "", "createdAt": "", "updatedAt": "", "customerId": null, "reference": null,
    "metadata": {}
}""" % (OF_LINE, OF_LINE)
HALF_A_LINE = OTHERS_ORDER.replace(b'"productId": 8, %s}' % OF_LINE, b'"productId": 7}')
# What may lie under a key that is not what the service has written there; what no schema reads: test_cache.py.
SPOILED = {
    "no field": b"{}",
    "a field of another type": b'{"id": 7, "name": "Lamp", "price": true, "next": null, "orders": [{"id": "1"}]}',
    "a price below zero": b'{"id": 7, "name": "Lamp", "price": "-1.00", "next": null, "orders": [1]}',
    "another product": b'{"id": 8, %s, "next": null, "orders": [%s]}' % (OF_PRODUCT, OTHERS_ORDER),
    "half a line": b'{"id": 8, "next": null, "orders": [%s]}' % HALF_A_LINE,
}


@pytest.mark.parametrize("content", SPOILED.values(), ids=SPOILED)
async def test_an_order_and_a_list_do_not_believe_a_spoiled_cache(
    orders_api: Api, orders_redis: Redis, content: bytes
) -> None:
    first = (await orders_api.post("/orders", ORDER)).data
    for key in ("product:7", "orders:product:7"):
        await orders_redis.set(key, content)

    listed = await orders_api.get(LIST)
    placed = await orders_api.post("/orders", ORDER)

    assert (listed.status, listed.data) == (200, [first])
    assert (placed.status, placed.data["unitPrice"]) == (201, "19.90")


@pytest.mark.parametrize("content", SPOILED.values(), ids=SPOILED)
async def test_a_product_does_not_come_from_a_spoiled_cache(products_api: Api, redis: Redis, content: bytes) -> None:
    lamp = (await products_api.post("/products", LAMP)).data
    await redis.set("product:1", content)

    assert (await products_api.get("/products/1")).data == lamp
