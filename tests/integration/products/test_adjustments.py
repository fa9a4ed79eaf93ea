import asyncio
from collections import Counter

from redis.asyncio import Redis

from shared.contracts.fields import MAX_STOCK
from shared.db import Database
from tests.api import Answer, Api
from tests.broker import Vhost
from tests.databases import fetch
from tests.integration.products.stock import cancelled, created, left, movements, product
from tests.waiting import eventually

LIMITS = (409, "conflict", ["delta"])


async def adjust(api: Api, product_id: int, delta: int) -> Answer:
    return await api.post(f"/products/{product_id}/stock", {"delta": delta, "reason": "counted"})


async def test_an_adjustment_changes_the_stock_and_leaves_a_movement(
    products_api: Api, products_database_url: str
) -> None:
    product_id = await product(products_database_url, qty=10)

    answers = [await adjust(products_api, product_id, delta) for delta in (5, -3, -12, 1)]

    assert [(answer.status, answer.data["qty"]) for answer in answers] == [(200, 15), (200, 12), (200, 0), (200, 1)]
    assert await fetch(
        products_database_url, "SELECT order_id, kind, delta, reason FROM stock_movements ORDER BY id OFFSET 1"
    ) == [(None, "adjustment", delta, "counted") for delta in (5, -3, -12, 1)]
    assert await left(products_database_url, product_id) == 1
    # The version is that of name and price.
    assert {(answer.data["version"], answer.headers["ETag"]) for answer in answers} == {(1, '"1"')}


async def test_an_adjustment_is_seen_at_once_though_the_product_was_cached(
    products_api: Api, products_database_url: str, redis: Redis
) -> None:
    product_id = await product(products_database_url, qty=10)
    seen = []
    for _ in range(10):
        await products_api.get(f"/products/{product_id}")
        assert await redis.exists(f"product:{product_id}")
        await adjust(products_api, product_id, -1)
        seen.append((await products_api.get(f"/products/{product_id}")).data["qty"])

    assert seen == list(range(9, -1, -1))


async def test_stock_does_not_leave_its_limits(products_api: Api, products_database_url: str) -> None:
    few, many = [await product(products_database_url, qty) for qty in (3, MAX_STOCK - 1)]

    refused = [
        await adjust(products_api, few, -4),
        await adjust(products_api, few, -MAX_STOCK),
        await adjust(products_api, many, 2),
        await adjust(products_api, many, MAX_STOCK),
    ]
    unknown = await adjust(products_api, 404, 1)

    assert [answer.refusal for answer in refused] == [LIMITS] * 4
    assert [answer.body["error"]["details"][0]["message"] for answer in refused] == [
        *["The stock is 3."] * 2,
        *[f"The stock is {MAX_STOCK - 1}."] * 2,
    ]
    assert unknown.refusal == (404, "not_found", [])
    assert await movements(products_database_url) == []
    assert [await left(products_database_url, each) for each in (few, many)] == [3, MAX_STOCK - 1]


async def test_stock_that_is_read_before_it_is_written_loses_adjustments(
    products_database: Database, products_database_url: str
) -> None:
    """The race that the next test is about: it is there."""
    product_id = await product(products_database_url, qty=10)
    both_have_read = asyncio.Barrier(2)

    async def take_one() -> None:
        async with products_database.transaction() as connection:
            qty = await connection.fetchval("SELECT qty FROM products WHERE id = $1", product_id)
            await both_have_read.wait()
            await connection.execute("UPDATE products SET qty = $2 WHERE id = $1", product_id, qty - 1)

    await asyncio.gather(take_one(), take_one())
    assert await fetch(products_database_url, "SELECT qty FROM products") == [(9,)]


async def test_adjustments_at_once_lose_none_and_stop_at_zero(products_api: Api, products_database_url: str) -> None:
    product_id = await product(products_database_url, qty=30)

    answers = await asyncio.gather(*(adjust(products_api, product_id, -1) for _ in range(50)))

    assert Counter(answer.status for answer in answers) == {200: 30, 409: 20}
    assert sorted(answer.data["qty"] for answer in answers if answer.status == 200) == list(range(30))
    assert len(await movements(products_database_url)) == 30
    assert await left(products_database_url, product_id) == 0


async def test_stock_that_came_back_above_the_limit_is_stock_like_any_other(
    products_api: Api, products_database_url: str, vhost: Vhost
) -> None:
    product_id = await product(products_database_url, qty=MAX_STOCK)
    quantity = 1_000_000

    async def has(qty: int) -> None:
        async def is_it() -> bool:
            return await left(products_database_url, product_id) == qty

        await eventually(is_it)
        assert (await products_api.get(f"/products/{product_id}")).data["qty"] == qty

    await vhost.publish_batch(created(product_id, 1, quantity))
    await has(MAX_STOCK - quantity)
    assert (await adjust(products_api, product_id, quantity)).data["qty"] == MAX_STOCK
    await vhost.publish_batch(cancelled(product_id, 1, quantity))
    await has(MAX_STOCK + quantity)

    assert (await adjust(products_api, product_id, 1)).refusal == LIMITS
    assert (await adjust(products_api, product_id, -1)).data["qty"] == MAX_STOCK + quantity - 1
    renamed = await products_api.request("PATCH", f"/products/{product_id}", json={"name": "Sand"})
    assert (renamed.status, renamed.data["qty"]) == (200, MAX_STOCK + quantity - 1)
    await vhost.publish_batch(created(product_id, 2, 1))
    await has(MAX_STOCK + quantity - 2)
