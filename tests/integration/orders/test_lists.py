import asyncio
import json

import pytest
from redis.asyncio import Redis

from tests.api import Api
from tests.databases import fetch


@pytest.fixture
async def seven_orders(orders_api: Api, orders_database_url: str) -> None:
    """Odd ones of product 7, even ones of product 8; 3, 4 and 6 are done."""
    for order_id in range(1, 8):
        await orders_api.post("/orders", {"productId": 7 if order_id % 2 else 8, "quantity": order_id})
    await fetch(orders_database_url, "UPDATE orders SET status = 'done' WHERE id IN (3, 4, 6)")


async def ids_by_page(api: Api, path: str) -> list[list[int]]:
    """Follows the cursors from the first page to the last."""
    pages: list[list[int]] = []
    cursor: str | None = ""
    while cursor is not None:
        answer = await api.get(f"{path}&cursor={cursor}" if cursor else path)
        pages.append([order["id"] for order in answer.data])
        cursor = answer.body["page"]["next"]
    return pages


@pytest.mark.usefixtures("seven_orders")
@pytest.mark.parametrize(
    ("query", "pages"),
    [
        ("limit=3", [[7, 6, 5], [4, 3, 2], [1]]),
        ("limit=7", [[7, 6, 5, 4, 3, 2, 1]]),
        ("limit=2&status=pending", [[7, 5], [2, 1]]),
        ("limit=2&status=rejected", [[]]),
        ("limit=3&productId=7", [[7, 5, 3], [1]]),
        ("limit=1&productId=8&status=done", [[6], [4]]),
    ],
)
async def test_pages_hold_each_matching_order_once_newest_first(
    orders_api: Api, query: str, pages: list[list[int]]
) -> None:
    assert await ids_by_page(orders_api, f"/orders?{query}") == pages


@pytest.mark.usefixtures("seven_orders")
async def test_the_orders_of_a_product_come_in_pages_too(orders_api: Api) -> None:
    assert await ids_by_page(orders_api, "/orders/product/7?limit=3") == [[7, 5, 3], [1]]
    assert await ids_by_page(orders_api, "/orders/product/9?limit=3") == [[]]


@pytest.mark.usefixtures("seven_orders")
async def test_the_cached_page_is_the_page_of_the_database(orders_api: Api, orders_redis: Redis) -> None:
    first, cached = [await orders_api.get("/orders/product/7") for _ in range(2)]
    uncached = await orders_api.get("/orders?productId=7")

    assert first.data == cached.data == uncached.data
    assert first.body["page"] == cached.body["page"] == uncached.body["page"] == {"limit": 50, "next": None}
    assert json.loads(await orders_redis.get("orders:product:7") or "")["orders"] == uncached.data


async def test_a_full_cached_page_leads_on_to_the_next(orders_api: Api) -> None:
    await asyncio.gather(*(orders_api.post("/orders", {"productId": 7, "quantity": 1}) for _ in range(60)))

    for _ in range(2):
        assert [len(page) for page in await ids_by_page(orders_api, "/orders/product/7?limit=50")] == [50, 10]


@pytest.mark.usefixtures("seven_orders")
async def test_the_links_of_the_pages_lead_through_them(orders_api: Api) -> None:
    expected = {
        "/orders?limit=3": [[7, 6, 5], [4, 3, 2], [1]],
        "/orders?limit=2&status=pending&productId=7": [[7, 5], [1]],
        "/orders/product/7?limit=3": [[7, 5, 3], [1]],
    }
    found: dict[str, list[list[int]]] = {path: [] for path in expected}
    for first, pages in found.items():
        path = first
        while path:
            answer = await orders_api.get(path)
            pages.append([order["id"] for order in answer.data])
            path, _, relation = answer.headers.get("Link", "").removeprefix("<").partition(">")
            assert relation == ('; rel="next"' if answer.body["page"]["next"] else "")

    assert found == expected


async def test_a_client_reads_its_own_order_at_once(orders_api: Api) -> None:
    seen = []
    for order_id in range(1, 21):
        await orders_api.get("/orders/product/7")
        await orders_api.post("/orders", {"productId": 7, "quantity": 1})
        listed = await orders_api.get("/orders/product/7")
        seen.append(listed.data[0]["id"] == order_id)

    assert seen == [True] * 20


async def test_an_unknown_order_is_not_found(orders_api: Api) -> None:
    answer = await orders_api.get("/orders/1")

    assert (answer.status, answer.code) == (404, "not_found")
