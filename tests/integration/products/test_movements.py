from datetime import datetime
from typing import Any

from tests.api import Api
from tests.broker import Vhost
from tests.databases import fetch
from tests.integration.products.stock import cancelled, created, left, product
from tests.waiting import eventually


async def test_every_change_of_stock_is_a_movement_newest_first(
    products_api: Api, products_database_url: str, vhost: Vhost
) -> None:
    product_id = await product(products_database_url, qty=10)
    await products_api.post(f"/products/{product_id}/stock", {"delta": -2, "reason": "broken"})
    for event, qty in ((created(product_id, 7, 3), 5), (cancelled(product_id, 7, 3), 8)):
        await vhost.publish_batch(event)

        async def is_applied(qty: int = qty) -> bool:
            return await left(products_database_url, product_id) == qty

        await eventually(is_applied)

    answer = await products_api.get(f"/products/{product_id}/movements")

    found: list[dict[str, Any]] = answer.data
    times = [datetime.fromisoformat(movement.pop("createdAt")) for movement in found]
    ids = [movement.pop("id") for movement in found]
    assert found == [
        {"kind": "release", "delta": 3, "orderId": 7, "reason": None},
        {"kind": "reserve", "delta": -3, "orderId": 7, "reason": None},
        {"kind": "adjustment", "delta": -2, "orderId": None, "reason": "broken"},
        {"kind": "initial", "delta": 10, "orderId": None, "reason": None},
    ]
    assert (ids, times) == (sorted(ids, reverse=True), sorted(times, reverse=True))
    assert answer.body["page"] == {"limit": 50, "next": None}


async def test_pages_walked_to_the_end_hold_each_movement_once(products_api: Api, products_database_url: str) -> None:
    product_id, other_id = [await product(products_database_url, qty=0) for _ in range(2)]
    await fetch(
        products_database_url,
        """
        INSERT INTO stock_movements (product_id, kind, delta)
        SELECT id, 'adjustment', n FROM generate_series(1, 9) AS n, (VALUES ($1::bigint), ($2)) AS p (id)
        """,
        product_id,
        other_id,
    )

    pages, path = [], f"/products/{product_id}/movements?limit=4"
    while path:
        answer = await products_api.get(path)
        pages.append([movement["delta"] for movement in answer.data])
        await products_api.post(f"/products/{product_id}/stock", {"delta": 1, "reason": "found"})  # moves no page
        path, _, relation = answer.headers.get("Link", "").removeprefix("<").partition(">")
        assert relation in ("", '; rel="next"')

    assert pages == [[9, 8, 7, 6], [5, 4, 3, 2], [1, 0]]


async def test_a_page_below_the_last_movement_is_empty_but_an_unknown_product_is_not_found(
    products_api: Api, products_database_url: str
) -> None:
    first_id, second_id = [await product(products_database_url, qty=10) for _ in range(2)]
    await products_api.post(f"/products/{first_id}/stock", {"delta": 1, "reason": "found"})
    page = (await products_api.get(f"/products/{first_id}/movements?limit=1")).body["page"]
    await fetch(products_database_url, "DELETE FROM stock_movements WHERE product_id = $1", second_id)

    below_all = await products_api.get(f"/products/{second_id}/movements?cursor={page['next']}")
    unknown = await products_api.get("/products/404/movements")

    assert (below_all.status, below_all.data) == (200, [])
    assert unknown.refusal == (404, "not_found", [])
