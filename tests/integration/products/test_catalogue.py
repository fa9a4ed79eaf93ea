import json
from datetime import datetime

from redis.asyncio import Redis

from tests.api import Api
from tests.broker import Vhost
from tests.databases import fetch
from tests.integration.line import Line
from tests.integration.outages import stopped
from tests.waiting import eventually
from tools.stack.servers import Servers

LAMP = {"name": "Desk lamp", "price": "19.90", "qty": 10}
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


async def test_a_product_is_created_with_its_location(products_api: Api) -> None:
    answer = await products_api.post("/products", LAMP)

    product = answer.data
    assert (answer.status, answer.headers["Location"]) == (201, "/products/1")
    assert datetime.fromisoformat(product.pop("createdAt")) == datetime.fromisoformat(product.pop("updatedAt"))
    assert product == {"id": 1, "name": "Desk lamp", "price": "19.90", "qty": 10, "version": 1}


async def test_a_price_is_exact_whether_it_came_as_a_number_or_a_string(products_api: Api) -> None:
    prices = []
    for price in (b"0.1", b'"0.10"', b"9999999999.99", b"0", b"1.10e1"):
        body = b'{"name": "Lamp", "qty": 1, "price": ' + price + b"}"
        answer = await products_api.request(
            "POST", "/products", data=body, headers={"Content-Type": "application/json"}
        )
        prices.append(answer.data["price"])

    assert prices == ["0.10", "0.10", "9999999999.99", "0.00", "11.00"]


async def test_the_answer_is_one_envelope_with_the_clients_trace(products_api: Api) -> None:
    headers = {"traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01", "X-Request-ID": "my-request"}

    answer = await products_api.post("/products", LAMP, headers=headers)

    body = answer.body
    assert datetime.fromisoformat(body.pop("timestamp")).utcoffset() is not None
    assert body.pop("data")["id"] == 1
    assert body == {"statusCode": 201, "traceId": TRACE_ID, "path": "/products"}
    assert answer.headers["X-Request-ID"] == "my-request"


async def test_a_product_is_read_through_the_cache(products_api: Api, redis: Redis) -> None:
    created = (await products_api.post("/products", LAMP)).data

    first, second = [await products_api.get("/products/1") for _ in range(2)]

    assert first.data == second.data == created
    assert json.loads(await redis.get("product:1") or "") == created


async def test_an_unknown_product_is_not_found_until_it_is_there(products_api: Api) -> None:
    before = await products_api.get("/products/1")
    await products_api.post("/products", LAMP)
    after = await products_api.get("/products/1")

    assert (before.status, before.code, after.status) == (404, "not_found", 200)


async def test_pages_hold_each_product_once_newest_first(products_api: Api) -> None:
    for _ in range(5):
        await products_api.post("/products", LAMP)

    pages, cursor = [], ""
    while True:
        answer = await products_api.get(f"/products?limit=2{cursor}")
        pages.append([product["id"] for product in answer.data])
        await products_api.post("/products", LAMP)  # a newer one moves no page
        if answer.body["page"]["next"] is None:
            break
        cursor = f"&cursor={answer.body['page']['next']}"

    assert pages == [[5, 4], [3, 2], [1]]


async def test_an_empty_list_is_a_page_without_a_next(products_api: Api) -> None:
    answer = await products_api.get("/products")

    assert (answer.data, answer.body["page"]) == ([], {"limit": 50, "next": None})


async def test_a_created_product_is_announced_with_the_requests_trace(products_api: Api, vhost: Vhost) -> None:
    await products_api.post("/products", LAMP, headers={"traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01"})

    async def is_announced() -> bool:
        return await vhost.depth("orders.products") == 1

    await eventually(is_announced)
    [event] = await vhost.take_events("orders.products")
    assert event["type"] == "product.created"
    assert event["traceparent"].split("-")[1] == TRACE_ID
    assert event["data"] == {"productId": 1, "name": "Desk lamp", "price": "19.90"}


async def test_the_initial_stock_is_a_movement(products_api: Api, products_database_url: str) -> None:
    await products_api.post("/products", LAMP)

    movements = await fetch(products_database_url, "SELECT product_id, order_id, kind, delta FROM stock_movements")
    assert movements == [(1, None, "initial", 10)]


async def test_without_redis_it_answers_the_same(products_api: Api, redis_line: Line) -> None:
    redis_line.cut()

    created = await products_api.post("/products", LAMP)
    found = await products_api.get("/products/1")

    assert (created.status, found.data) == (201, created.data)


async def test_without_its_database_it_is_unavailable_and_recovers(products_api: Api, servers: Servers) -> None:
    async with stopped(servers.postgres):
        refused = [
            await products_api.post("/products", LAMP),
            await products_api.get("/products"),
            await products_api.get("/products/1"),
        ]

    assert [(answer.status, answer.code, answer.headers["Retry-After"]) for answer in refused] == [
        (503, "unavailable", "1")
    ] * 3
    assert (await products_api.post("/products", LAMP)).status == 201
