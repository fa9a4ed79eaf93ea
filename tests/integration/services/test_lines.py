"""Orders of several products: each is priced, asked for and shown by its lines, and decided as one."""

from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from orders.app import create_app
from orders.settings import Settings
from tests.api import Api
from tests.broker import Vhost
from tests.databases import fetch
from tests.integration.conftest import running
from tests.integration.services.test_lists import pages
from tests.integration.services.verdicts import ORDER, PRODUCT_UID, announced, becomes, verdict
from tests.integration.upstream import FakeService

LINES = [{"productId": 7, "quantity": 3}, {"productId": 8, "quantity": 5}]
NO_LINE: dict[str, Any] = {"productId": None, "quantity": None, "unitPrice": None}


async def test_an_order_of_lines_is_priced_written_announced_and_shown_by_line(
    orders_api: Api, orders_database_url: str, vhost: Vhost
) -> None:
    placed = await orders_api.post("/orders", {"lines": LINES})
    one = await orders_api.post("/orders", {"lines": LINES[:1]})
    plain = await orders_api.post("/orders", ORDER)

    shown = [
        {"productId": 7, "quantity": 3, "unitPrice": "19.90", "totalPrice": "59.70"},
        {"productId": 8, "quantity": 5, "unitPrice": "0.01", "totalPrice": "0.05"},
    ]
    assert placed.status == 201
    assert {**NO_LINE, "lines": shown, "totalPrice": "59.75", "expiresAt": None}.items() <= placed.data.items()
    # A single line is the order of one product that it always was.
    own = ("id", "traceId", "createdAt", "updatedAt")
    assert {**one.data, **{name: plain.data[name] for name in own}} == plain.data
    assert {**shown[0], "lines": shown[:1]}.items() <= plain.data.items()
    assert await orders_api.data("/orders/1") == placed.data
    assert await orders_api.data("/orders/product/8") == [placed.data]
    created = (await announced(vhost, 3))[0]["data"]
    [(uid,)] = await fetch(orders_database_url, "SELECT uid::text FROM orders WHERE id = 1")
    prices = ("19.90", "0.01")
    lines = [
        {**line, "productUid": PRODUCT_UID, "unitPrice": price} for line, price in zip(LINES, prices, strict=True)
    ]
    assert created == {"orderId": 1, "orderUid": uid, "held": False, "lines": lines}


@pytest.mark.parametrize("seen", [{}, {"unitPrice": "19.90"}], ids=["no price seen", "a price seen"])
async def test_each_unknown_product_is_named_and_nothing_is_written(
    orders_api: Api, orders_database_url: str, seen: dict[str, str]
) -> None:
    ids = (404, 7, 405)

    answer = await orders_api.post("/orders", {"lines": [{"productId": id_, "quantity": 1, **seen} for id_ in ids]})

    assert answer.refusal == (404, "not_found", ["lines.0.productId", "lines.2.productId"])
    assert await fetch(orders_database_url, "SELECT 1 FROM orders UNION ALL SELECT 1 FROM outbox") == []


async def test_products_come_from_the_cache_and_the_rest_in_one_request(
    orders_api: Api, product_service: FakeService, prices: dict[int, str]
) -> None:
    prices.update(dict.fromkeys(range(1, 101), "1.00"))

    async def asked(*ids: int) -> list[str]:
        before = len(product_service.seen)
        answer = await orders_api.post("/orders", {"lines": [{"productId": id_, "quantity": 1} for id_ in ids]})
        assert answer.status == 201
        return [request.target for request in product_service.seen[before:]]

    assert await asked(3, 1, 2) == ["/products?ids=3,1,2"]
    assert await asked(1, 4, 3, 5) == ["/products?ids=4,5"]
    assert await asked(5, 4, 6) == ["/products/6"]
    assert await asked(1, 2, 3, 4, 5, 6) == []
    assert await asked(*range(1, 101)) == [f"/products?ids={','.join(map(str, range(7, 101)))}"]


async def test_a_price_that_has_changed_refuses_the_order_at_its_line(orders_api: Api, prices: dict[int, str]) -> None:
    await orders_api.post("/orders", {"lines": LINES})  # the prices are cached
    prices[8] = "0.02"
    seven, eight = LINES

    refused = await orders_api.post("/orders", {"lines": [seven, {**eight, "unitPrice": "0.01"}]})
    taken = await orders_api.post("/orders", {"lines": [seven, {**eight, "unitPrice": "0.02"}]})

    assert refused.refusal == (409, "price_changed", ["lines.1.unitPrice"])
    assert refused.body["error"]["details"][0]["message"] == "The price is 0.02."
    assert (taken.status, taken.data["totalPrice"]) == (201, "59.80")


async def test_a_total_that_cannot_be_stored_refuses_the_order(orders_api: Api, prices: dict[int, str]) -> None:
    """The largest is just possible, and shown to the cent."""
    prices.update({7: "9999999999.99", 8: "9999.99", 9: "0.01"})
    lines = [{"productId": 7, "quantity": 1_000_000}, {"productId": 8, "quantity": 1}, {"productId": 9, "quantity": 1}]

    refused = await orders_api.post("/orders", {"lines": lines})
    largest = await orders_api.post("/orders", {"lines": [lines[0], {"productId": 8, "quantity": 1}]})

    assert refused.refusal == (400, "validation_error", ["lines"])
    assert (largest.status, largest.data["totalPrice"]) == (201, "9999999999999999.99")


@pytest.mark.parametrize("content", [{"lines": LINES}, {**ORDER, "holdSeconds": 60}], ids=["lines", "hold"])
async def test_lines_and_holds_are_refused_until_they_are_turned_on(
    orders_settings: Settings, orders_redis: Redis, content: dict[str, Any]
) -> None:
    async with running(create_app(replace(orders_settings, lines_and_holds=False))) as api:
        refused = await api.post("/orders", content, headers={"Idempotency-Key": "key"})
        taken = [await api.post("/orders", each) for each in (ORDER, {"lines": LINES[:1]})]

    assert refused.refusal == (409, "conflict", [])
    assert [answer.status for answer in taken] == [201, 201]


async def test_what_an_order_of_lines_could_not_get_is_shown_and_stays(
    orders_api: Api, orders_database_url: str, vhost: Vhost
) -> None:
    for content in ({"lines": LINES}, {"lines": LINES}, ORDER):
        await orders_api.post("/orders", content)
    short = [{"productId": 8, "requested": 5, "available": 4}]
    of_lines: dict[str, Any] = {"productId": None, "lines": LINES}
    listed = [await orders_api.data(f"/orders/product/{product_id}") for product_id in (7, 8)]

    await vhost.publish_batch(
        verdict(1, "rejected", "insufficient_stock", shortages=short, **of_lines),
        verdict(2, "done", **of_lines),
        verdict(3, "rejected", "insufficient_stock", shortages=[{**short[0], "productId": 7}]),
        verdict(1, "done", **of_lines),
    )
    await becomes(orders_api, 3, "rejected")

    statuses = {order["id"]: order["status"] for order in await orders_api.data("/orders")}
    assert statuses == {1: "rejected", 2: "done", 3: "rejected"}
    order, history = [await orders_api.data(f"/orders/1{path}") for path in ("", "/history")]
    assert [(each["reason"], each["shortages"]) for each in (order, *history)] == [
        *(("insufficient_stock", short), (None, []), ("insufficient_stock", short))
    ]
    # The lists of both products were cached.
    assert [len(orders) for orders in listed] == [3, 2]
    assert (await orders_api.data("/orders/product/8"))[1] == (await orders_api.data("/orders/product/7"))[2] == order
    assert await fetch(
        orders_database_url, "SELECT order_id, product_id, status FROM order_products ORDER BY 1, 2"
    ) == [*((1, 7, "rejected"), (1, 8, "rejected"), (2, 7, "done"), (2, 8, "done"))]


async def test_a_page_of_a_product_merges_orders_of_one_line_and_of_several(
    orders_api: Api, orders_database_url: str
) -> None:
    """Orders 1 to 9 in turn have product 7, both, product 8; every second is done."""
    for n in range(9):
        await orders_api.post("/orders", [ORDER, {"lines": LINES}, {**ORDER, "productId": 8}][n % 3])
    for table, order_id in (("orders", "id"), ("order_products", "order_id")):
        await fetch(orders_database_url, f"UPDATE {table} SET status = 'done' WHERE {order_id} % 2 = 0")
    expected = {
        "/orders?limit=4": [[9, 8, 7, 6], [5, 4, 3, 2], [1]],
        "/orders?limit=2&productId=7": [[8, 7], [5, 4], [2, 1]],
        "/orders?limit=4&productId=8": [[9, 8, 6, 5], [3, 2]],
        "/orders?limit=1&productId=7&status=done": [[8], [4], [2]],
        "/orders?limit=2&productId=8&status=pending": [[9, 5], [3]],
        "/orders?productId=8&status=held": [[]],
        "/orders/product/7": [[8, 7, 5, 4, 2, 1]],
        "/orders/product/8?limit=5": [[9, 8, 6, 5, 3], [2]],
    }

    found = {path: await pages(orders_api, path) for path in expected}

    assert found == expected


async def test_a_repeat_shows_the_order_of_lines_and_its_hold_as_they_were(
    orders_api: Api, orders_database_url: str
) -> None:
    content, keyed = {"lines": LINES, "holdSeconds": 60}, {"Idempotency-Key": "key"}
    first = await orders_api.post("/orders", content, headers=keyed)
    await fetch(orders_database_url, "UPDATE orders SET status = 'held'")
    extended = await orders_api.post("/orders/1/hold", {"holdSeconds": 600})

    again = await orders_api.post("/orders", content, headers=keyed)
    others = [
        await orders_api.post("/orders", other, headers=keyed)
        for other in ({**content, "holdSeconds": 61}, {**content, "lines": LINES[::-1]}, {"lines": LINES})
    ]

    assert (again.status, again.data, again.headers["Idempotency-Replayed"]) == (201, first.data, "true")
    assert extended.data["expiresAt"] > first.data["expiresAt"]
    assert [answer.code for answer in others] == ["idempotency_mismatch"] * 3
    assert await fetch(orders_database_url, "SELECT count(*) FROM orders") == [(1,)]
