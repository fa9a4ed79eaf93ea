import asyncio
from collections import Counter

from redis.asyncio import Redis

from tests.api import Answer, Api
from tests.broker import Vhost
from tests.databases import fetch
from tests.waiting import eventually

LAMP = {"name": "Desk lamp", "price": "19.90", "qty": 10}
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACE = {"traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01"}


async def change(api: Api, content: dict[str, object], *if_match: str) -> Answer:
    """Product 1; each of `if_match` goes as a header of its own."""
    return await api.request(
        "PATCH", "/products/1", json=content, headers=[("If-Match", versions) for versions in if_match]
    )


def shown(answer: Answer) -> tuple[str, str, int, str]:
    product = answer.data
    return product["name"], product["price"], product["version"], answer.headers["ETag"]


async def test_a_change_holds_what_is_named_and_counts_as_one_version(products_api: Api) -> None:
    created = await products_api.post("/products", LAMP)
    answers = [
        await change(products_api, {"name": "Lamp"}),
        await change(products_api, {"price": 20}),
        await change(products_api, {"name": "Desk lamp", "price": "19.90"}),
    ]

    assert [answer.status for answer in answers] == [200, 200, 200]
    assert [shown(answer) for answer in (created, *answers)] == [
        ("Desk lamp", "19.90", 1, '"1"'),
        ("Lamp", "19.90", 2, '"2"'),
        ("Lamp", "20.00", 3, '"3"'),
        ("Desk lamp", "19.90", 4, '"4"'),
    ]
    last = answers[-1].data
    assert last["updatedAt"] > last["createdAt"] == created.data["createdAt"]
    assert last["qty"] == 10


async def test_a_change_is_seen_at_once_though_the_product_was_cached(products_api: Api, redis: Redis) -> None:
    await products_api.post("/products", LAMP)
    prices = []
    for price in range(1, 21):
        await products_api.get("/products/1")
        assert await redis.exists("product:1")
        await change(products_api, {"price": price})
        prices.append((await products_api.get("/products/1")).data["price"])

    assert prices == [f"{price}.00" for price in range(1, 21)]


async def test_a_change_is_announced_with_the_requests_trace(products_api: Api, vhost: Vhost) -> None:
    await products_api.post("/products", LAMP)
    await products_api.request("PATCH", "/products/1", json={"price": "25"}, headers=TRACE)

    async def both_are_announced() -> bool:
        return await vhost.depth("orders.products") == 2

    await eventually(both_are_announced)
    _, updated = await vhost.take_events("orders.products")
    assert (updated["type"], updated["traceparent"].split("-")[1]) == ("product.updated", TRACE_ID)
    assert updated["data"] == {"productId": 1, "name": "Desk lamp", "price": "25.00"}


async def test_a_change_is_made_only_to_a_version_that_the_client_allows(
    products_api: Api, products_database_url: str
) -> None:
    await products_api.post("/products", LAMP)

    allowed = [['"1"'], ['"7", "2"'], ["*"], [',"4",, "5",'], ['"1"', 'W/"5", "5"']]
    assert [(await change(products_api, {"name": "Lamp"}, *each)).status for each in allowed] == [200] * 5
    refused = ['"4"', '"1", "2"', '"0"', '"2147483648", "9999999999"', 'W/"6"', '"six"', '"é"', ""]
    answers = [await change(products_api, {"name": "Sofa"}, each) for each in refused]
    assert [answer.refusal for answer in answers] == [(412, "precondition_failed", ["If-Match"])] * 8
    assert answers[0].body["error"]["details"][0]["message"] == "The version is 6."
    assert await fetch(products_database_url, "SELECT name, version FROM products") == [("Lamp", 6)]


async def test_what_cannot_be_changed_is_refused_and_nothing_is_written(
    products_api: Api, products_database_url: str
) -> None:
    unknown = [await change(products_api, {"name": "Sofa"}, *versions) for versions in ((), ("*",), ('"1"',))]
    await products_api.post("/products", LAMP)

    wrong = [["1"], ['"1'], ["W/1"], ['"1" "1"'], ["*", '"1"']]
    answers = [await change(products_api, {"name": "Sofa"}, *if_match) for if_match in wrong]

    assert [answer.refusal for answer in unknown] == [(404, "not_found", [])] * 3
    assert [answer.refusal for answer in answers] == [(400, "validation_error", ["If-Match"])] * 5
    assert await fetch(products_database_url, "SELECT name, version FROM products") == [("Desk lamp", 1)]


async def test_without_if_match_the_second_of_two_changes_undoes_the_first(products_api: Api) -> None:
    """The lost update that the next test is about: it is there."""
    await products_api.post("/products", LAMP)
    seen = (await products_api.get("/products/1")).data

    await change(products_api, {"name": "Lamp", "price": seen["price"]})
    await change(products_api, {"name": seen["name"], "price": "1.00"})

    after = (await products_api.get("/products/1")).data
    assert (after["name"], after["price"]) == ("Desk lamp", "1.00")


async def test_of_changes_to_the_same_version_at_once_one_is_made(products_api: Api) -> None:
    await products_api.post("/products", LAMP)

    answers = await asyncio.gather(*(change(products_api, {"name": f"Lamp {n}"}, '"1"') for n in range(20)))

    [made] = [answer for answer in answers if answer.status == 200]
    assert Counter(answer.status for answer in answers) == {200: 1, 412: 19}
    assert (await products_api.get("/products/1")).data == made.data
