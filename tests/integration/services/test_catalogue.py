import asyncio
from collections import Counter
from datetime import datetime
from uuid import UUID

from tests.api import Answer, Api
from tests.broker import Vhost
from tests.databases import fetch
from tests.traces import TRACE, TRACE_ID
from tests.waiting import reaches

LAMP = {"name": "Desk lamp", "price": "19.90", "qty": 10}
ASKED = {**TRACE, "X-Request-ID": "my-request"}


async def change(api: Api, content: dict[str, object], *if_match: str) -> Answer:
    """Changes product 1; each of `if_match` goes as a header of its own."""
    return await api.request(
        "PATCH", "/products/1", json=content, headers=[("If-Match", versions) for versions in if_match]
    )


def shown(answer: Answer) -> tuple[str, str, int, str]:
    product = answer.data
    return product["name"], product["price"], product["version"], answer.headers["ETag"]


async def test_a_product_is_created_and_announced(products_api: Api, products_database_url: str, vhost: Vhost) -> None:
    answer = await products_api.post("/products", LAMP, headers=ASKED)
    await products_api.request("PATCH", "/products/1", json={"price": "25"}, headers=ASKED)
    await reaches(lambda: vhost.depth("orders.products"), 2)
    product = answer.data
    assert (answer.status, answer.headers["Location"], answer.headers["ETag"]) == (201, "/products/1", '"1"')
    assert datetime.fromisoformat(product.pop("createdAt")) == datetime.fromisoformat(product.pop("updatedAt"))
    assert UUID(product.pop("uid")).version == 4
    assert product == {"id": 1, "name": "Desk lamp", "price": "19.90", "qty": 10, "held": 0, "version": 1}
    assert (answer.body["traceId"], answer.headers["X-Request-ID"]) == (TRACE_ID, "my-request")
    movements = await fetch(products_database_url, "SELECT product_id, order_id, kind, delta FROM stock_movements")
    assert movements == [(1, None, "initial", 10)]
    events = await vhost.take_events("orders.products")
    assert [(each["type"], each["traceparent"].split("-")[1], each["data"]) for each in events] == [
        ("product.created", TRACE_ID, {"productId": 1, "name": "Desk lamp", "price": "19.90"}),
        ("product.updated", TRACE_ID, {"productId": 1, "name": "Desk lamp", "price": "25.00"}),
    ]


async def test_a_change_holds_what_is_named_and_counts_as_one_version(products_api: Api) -> None:
    created = await products_api.post("/products", LAMP)
    answers = [
        await change(products_api, {"name": "Lamp"}),
        await change(products_api, {"price": 0.1}),
        await change(products_api, {"name": "Desk lamp", "price": "9999999999.99"}),
    ]

    assert [answer.status for answer in answers] == [200, 200, 200]
    assert [shown(answer) for answer in (created, *answers)] == [
        ("Desk lamp", "19.90", 1, '"1"'),
        ("Lamp", "19.90", 2, '"2"'),
        ("Lamp", "0.10", 3, '"3"'),
        ("Desk lamp", "9999999999.99", 4, '"4"'),
    ]
    last = answers[-1].data
    assert last["updatedAt"] > last["createdAt"] == created.data["createdAt"]
    assert last["qty"] == 10


async def test_a_change_is_made_to_a_version_that_is_allowed(products_api: Api, products_database_url: str) -> None:
    unknown = [await change(products_api, {"name": "Sofa"}, *versions) for versions in ((), ("*",), ('"1"',))]
    await products_api.post("/products", LAMP)

    allowed = [['"1"'], ['"7", "2"'], ["*"], [',"4",, "5",'], ['"1"', 'W/"5", "5"']]
    changed = [await change(products_api, {"name": f"Lamp {n}"}, *each) for n, each in enumerate(allowed)]
    others = ['"4"', '"1", "2"', '"2147483648", "9999999999"', 'W/"6"', ""]
    refused = [await change(products_api, {"name": "Sofa"}, each) for each in others]

    assert [answer.refusal for answer in unknown] == [(404, "not_found", [])] * 3
    assert [answer.status for answer in changed] == [200] * 5
    assert [answer.refusal for answer in refused] == [(412, "precondition_failed", ["If-Match"])] * 5
    assert refused[0].body["error"]["details"][0]["message"] == "The version is 6."
    assert await fetch(products_database_url, "SELECT name, version FROM products") == [("Lamp 4", 6)]


async def test_a_change_to_what_a_product_is_already_is_no_change(
    products_api: Api, products_database_url: str
) -> None:
    """Its version stays, so that it takes no other client's tag away, and nothing is announced."""
    created = await products_api.post("/products", LAMP)
    same = [
        await change(products_api, {"name": "Desk lamp"}),
        await change(products_api, {"price": 19.9}, '"1"'),
        await change(products_api, {"name": "Desk lamp", "price": "19.90"}, "*"),
    ]
    refused = await change(products_api, {"name": "Desk lamp"}, '"2"')
    changed = await change(products_api, {"name": "Desk lamp", "price": "19.91"}, '"1"')

    assert [(answer.status, answer.data, answer.headers["ETag"]) for answer in same] == [
        (200, created.data, '"1"')
    ] * 3
    assert refused.refusal == (412, "precondition_failed", ["If-Match"])
    assert (changed.status, changed.data["version"]) == (200, 2)
    assert await fetch(products_database_url, "SELECT name, version FROM products") == [("Desk lamp", 2)]


async def test_of_equal_changes_at_once_one_is_made(products_api: Api) -> None:
    await products_api.post("/products", LAMP)

    answers = await asyncio.gather(*(change(products_api, {"name": "Lamp"}) for _ in range(20)))

    assert {shown(answer) for answer in answers} == {("Lamp", "19.90", 2, '"2"')}


async def test_of_changes_to_the_same_version_at_once_one_is_made(products_api: Api) -> None:
    await products_api.post("/products", LAMP)

    answers = await asyncio.gather(*(change(products_api, {"name": f"Lamp {n}"}, '"1"') for n in range(20)))

    [made] = [answer for answer in answers if answer.status == 200]
    assert Counter(answer.status for answer in answers) == {200: 1, 412: 19}
    assert (await products_api.get("/products/1")).data == made.data
