"""Pages of every list: each row once, newest first, whichever way a client goes from page to page."""

import json

from redis.asyncio import Redis

from shared.pagination import encode_cursor
from tests.api import Api
from tests.databases import fetch
from tests.integration.services.stock import product
from tests.integration.services.verdicts import ORDER

EMPTY = {"limit": 50, "next": None}


async def pages(api: Api, path: str, shown: str = "id", write: str = "", content: object = None) -> list[list[int]]:
    """One field of each row, page by page; after each page something newer is written, if `write` says where."""
    found: list[list[int]] = []
    while path:
        answer = await api.get(path)
        found.append([row[shown] for row in answer.data])
        if write:
            await api.post(write, content)
        following = answer.body["page"]["next"]
        path, _, relation = answer.headers.get("Link", "").removeprefix("<").partition(">")
        assert relation == ('; rel="next"' if following else "")
        assert not following or f"cursor={following}" in path.partition("?")[2].split("&")
    return found


async def test_every_list_of_orders_holds_each_matching_order_once(orders_api: Api, orders_database_url: str) -> None:
    for order_id in range(1, 8):
        content = {"productId": 7 if order_id % 2 else 8, "quantity": order_id, "reference": f"A-{order_id}"}
        await orders_api.post("/orders", {**content, "customerId": "M\xfcller" if order_id > 2 else "Zoe"})
    await fetch(orders_database_url, "UPDATE orders SET status = 'done' WHERE id IN (3, 4, 6)")
    expected = {
        "/orders": [[7, 6, 5, 4, 3, 2, 1]],
        "/orders?limit=3": [[7, 6, 5], [4, 3, 2], [1]],
        "/orders?limit=7": [[7, 6, 5, 4, 3, 2, 1]],
        "/orders?limit=2&status=pending": [[7, 5], [2, 1]],
        "/orders?limit=2&status=rejected": [[]],
        "/orders?limit=3&productId=7": [[7, 5, 3], [1]],
        "/orders?limit=1&productId=8&status=done": [[6], [4]],
        "/orders?limit=2&status=pending&productId=7": [[7, 5], [1]],
        "/orders?limit=3&customerId=M\xfcller": [[7, 6, 5], [4, 3]],
        "/orders?customerId=M": [[]],
        "/orders?limit=1&reference=A-4": [[4]],
        "/orders?reference=a-4": [[]],
        "/orders/product/7": [[7, 5, 3, 1]],
        "/orders/product/7?limit=3": [[7, 5, 3], [1]],
        "/orders/product/9?limit=3": [[]],
    }

    found = {path: await pages(orders_api, path) for path in expected}

    assert found == expected


async def test_the_cached_page_is_the_one_of_the_database(
    orders_api: Api, orders_database_url: str, orders_redis: Redis
) -> None:
    await orders_api.post("/orders", ORDER)
    await fetch(
        orders_database_url,
        """
        INSERT INTO orders (product_id, quantity, unit_price, total_price, trace_id)
        SELECT 7, 1, 1, 1, 'trace' FROM generate_series(1, 59)
        """,
    )

    first, cached = [await orders_api.get("/orders/product/7") for _ in range(2)]
    uncached = await orders_api.get("/orders?productId=7")
    followed = await pages(orders_api, "/orders/product/7")

    assert first.data == cached.data == uncached.data
    assert (
        first.body["page"] == cached.body["page"] == uncached.body["page"] == {"limit": 50, "next": encode_cursor(11)}
    )
    assert json.loads(await orders_redis.get("orders:product:7") or "")["orders"] == uncached.data
    assert followed == [list(range(60, 10, -1)), list(range(10, 0, -1))]


async def test_lists_hold_each_row_once_while_newer_are_written(products_api: Api, products_database_url: str) -> None:
    nothing = await products_api.get("/products")
    first_id, *_, last_id = [await product(products_database_url, qty=n) for n in range(5)]
    await fetch(
        products_database_url,
        """
        INSERT INTO stock_movements (product_id, kind, delta)
        SELECT id, 'adjustment', n FROM generate_series(1, 9) AS n, (VALUES ($1::bigint), ($2)) AS p (id)
        """,
        first_id,
        last_id,
    )

    lamp, found = {"name": "Lamp", "price": "1.00", "qty": 1}, {"delta": 1, "reason": "found"}
    products = await pages(products_api, "/products?limit=2", "id", "/products", lamp)
    path = f"/products/{first_id}"
    movements = await pages(products_api, f"{path}/movements?limit=4", "delta", f"{path}/stock", found)

    assert (nothing.data, nothing.body["page"]) == ([], EMPTY)
    assert products == [[5, 4], [3, 2], [1]]
    assert movements == [[9, 8, 7, 6], [5, 4, 3, 2], [1, 0]]


async def test_products_are_selected_by_their_ids_in_the_order_asked(
    products_api: Api, products_database_url: str
) -> None:
    ids = [await product(products_database_url, qty=n) for n in range(3)]

    await products_api.get(f"/products/{ids[2]}")  # which caches it
    await fetch(products_database_url, "UPDATE products SET price = 2")

    answer = await products_api.get(f"/products?ids={ids[2]},404,{ids[0]}")

    assert [each["id"] for each in answer.data] == [ids[2], ids[0]]
    assert answer.body["page"] == {"limit": 3, "next": None}
    assert [each["price"] for each in answer.data] == ["2.00", "2.00"]


async def test_a_page_below_all_movements_is_empty(products_api: Api, products_database_url: str) -> None:
    product_id = await product(products_database_url, qty=10)

    below_all = await products_api.get(f"/products/{product_id}/movements?cursor={encode_cursor(1)}")
    unknown = await products_api.get("/products/404/movements")

    assert (below_all.status, below_all.data, below_all.body["page"]) == (200, [], EMPTY)
    assert unknown.refusal == (404, "not_found", [])
