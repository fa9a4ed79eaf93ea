import asyncio
from collections import Counter
from decimal import Decimal

from products import repository
from products.repository import FORGET_KEYS
from shared.db import Database, purge
from shared.idempotency import Key
from tests.api import Answer, Api
from tests.databases import PASSWORD, fetch
from tests.integration.products.conftest import StartProducts
from tests.integration.products.stock import left, movements, product
from tests.waiting import eventually
from tools.stack.servers import Servers

LAMP = {"name": "Desk lamp", "price": "19.90", "qty": 10}
BROKEN = {"delta": -1, "reason": "broken"}
MISMATCH: tuple[int, str, list[str]] = (422, "idempotency_mismatch", [])


async def post(api: Api, path: str, content: object, *keys: str) -> Answer:
    return await api.post(path, content, headers=[("Idempotency-Key", key) for key in keys])


def replayed(answer: Answer) -> tuple[int, str | None]:
    return answer.status, answer.headers.get("Idempotency-Replayed")


async def products(url: str) -> int:
    [(count,)] = await fetch(url, "SELECT count(*) FROM products")
    return int(count)


async def keys(url: str) -> set[str]:
    return {key for (key,) in await fetch(url, "SELECT key FROM idempotency_keys")}


async def test_a_repeat_gets_the_first_answer_again_and_does_nothing(
    products_api: Api, products_database_url: str
) -> None:
    requests = [("/products", LAMP, "create"), ("/products/1/stock", BROKEN, "adjust")]
    first = [await post(products_api, *request) for request in requests]
    await products_api.request("PATCH", "/products/1", json={"name": "Sofa"})

    again = [await post(products_api, *request) for request in requests for _ in range(2)]

    created, adjusted = first
    assert [replayed(answer) for answer in first] == [(201, None), (200, None)]
    assert [replayed(answer) for answer in again] == [(201, "true")] * 2 + [(200, "true")] * 2
    assert [answer.data for answer in again] == [created.data] * 2 + [adjusted.data] * 2
    assert {(answer.headers["Location"], answer.headers["ETag"]) for answer in (created, *again[:2])} == {
        ("/products/1", '"1"')
    }
    assert len({answer.body["traceId"] for answer in (*first, *again)}) == 6
    assert await products(products_database_url) == 1
    assert await left(products_database_url, 1) == 9


async def test_a_key_that_was_used_for_another_request_is_refused(
    products_api: Api, products_database_url: str
) -> None:
    for _ in range(2):
        assert replayed(await post(products_api, "/products", LAMP)) == (201, None)
    await post(products_api, "/products/1/stock", BROKEN, "key")

    answers = [
        await post(products_api, "/products/1/stock", {**BROKEN, "delta": -2}, "key"),
        await post(products_api, "/products/2/stock", BROKEN, "key"),
        await post(products_api, "/products", LAMP, "key"),
    ]

    assert [answer.refusal for answer in answers] == [MISMATCH] * 3
    assert await movements(products_database_url) == [(None, "adjustment", -1)]
    assert await products(products_database_url) == 2


async def test_a_refused_request_leaves_no_key(products_api: Api, products_database_url: str) -> None:
    unknown = await post(products_api, "/products/1/stock", BROKEN, "key")
    await product(products_database_url, qty=1)
    too_many = await post(products_api, "/products/1/stock", {**BROKEN, "delta": -2}, "key")
    kept = await keys(products_database_url)

    tried_anew = await post(products_api, "/products/1/stock", BROKEN, "key")

    assert [answer.status for answer in (unknown, too_many)] == [404, 409]
    assert kept == set()
    assert replayed(tried_anew) == (200, None)


async def test_a_key_that_is_none_is_refused_by_name_and_nothing_is_written(
    products_api: Api, products_database_url: str
) -> None:
    await product(products_database_url, qty=10)
    wrong = [[""], ["x" * 256], ["two words"], ["schlüssel"], ["\N{NO-BREAK SPACE}key"], ["key", "key"]]

    answers = [
        await post(products_api, path, content, *each)
        for path, content in (("/products", LAMP), ("/products/1/stock", BROKEN))
        for each in wrong
    ]

    assert [answer.refusal for answer in answers] == [(400, "validation_error", ["Idempotency-Key"])] * 12
    assert (await products(products_database_url), await left(products_database_url, 1)) == (1, 10)


async def test_without_the_unique_key_two_processes_make_two_products(
    products_database: Database, products_database_url: str, servers: Servers
) -> None:
    """The race that the next tests are about: it is there."""
    owner_url = servers.postgres.database_url("products_owner", PASSWORD, products_database_url.rpartition("/")[2])
    await fetch(owner_url, "ALTER TABLE idempotency_keys DROP CONSTRAINT idempotency_keys_pkey")
    both_have_looked, key = asyncio.Barrier(2), Key("key", b"hash")

    async def create() -> None:
        async with products_database.transaction() as connection:
            assert await repository.first_answer(connection, key) is None
            await both_have_looked.wait()
            await repository.create(connection, "Lamp", Decimal(1), 1, None)
            await repository.keep_answer(connection, key, b"{}")

    await asyncio.gather(create(), create())
    assert await products(products_database_url) == 2


async def test_two_hundred_posts_at_once_with_one_key_make_one_product(
    products_api: Api, products_database_url: str
) -> None:
    answers = await asyncio.gather(*(post(products_api, "/products", LAMP, "key") for _ in range(200)))

    assert {answer.status for answer in answers} <= {201, 409}
    assert {answer.data["id"] for answer in answers if answer.status == 201} == {1}
    assert {answer.headers["Retry-After"] for answer in answers if answer.status == 409} <= {"1"}
    assert await products(products_database_url) == 1


async def test_two_processes_do_a_request_with_one_key_once(
    products_api: Api, products_database_url: str, start_products: StartProducts
) -> None:
    product_id = await product(products_database_url, qty=1)
    path = f"/products/{product_id}/stock"
    async with start_products() as other_api:
        for n in range(5):
            apis = [products_api, other_api] * 5
            created = await asyncio.gather(*(post(api, "/products", LAMP, f"create-{n}") for api in apis))
            adjusted = await asyncio.gather(*(post(api, path, BROKEN, f"adjust-{n}") for api in apis))
            await post(products_api, path, {"delta": 1, "reason": "found"})

            assert Counter(replayed(answer) for answer in created)[(201, None)] == 1
            assert {answer.status for answer in created} <= {201, 409}
            assert len({answer.data["id"] for answer in created if answer.status == 201}) == 1
            # The last piece is gone, and whoever asked for that with this key is not told that there was none.
            assert Counter(replayed(answer) for answer in adjusted)[(200, None)] == 1
            assert [answer.fields for answer in adjusted if answer.status != 200 and answer.fields] == []

    assert await products(products_database_url) == 6
    assert await left(products_database_url, product_id) == 1


async def test_keys_are_forgotten_after_a_day_and_no_earlier(
    products_api: Api, products_database: Database, products_database_url: str, start_products: StartProducts
) -> None:
    for key in ("old", "fresh"):
        await post(products_api, "/products", LAMP, key)
    await fetch(
        products_database_url,
        """
        UPDATE idempotency_keys
        SET created_at = now() - CASE key WHEN 'old' THEN '24 hours 1 second' ELSE '23 hours 59 minutes' END::interval
        """,
    )
    await fetch(
        products_database_url,
        """
        INSERT INTO idempotency_keys (key, request_hash, answer, created_at)
        SELECT 'many ' || n, '', '{}', now() - interval '2 days' FROM generate_series(1, 1200) AS n
        """,
    )

    await purge(products_database, FORGET_KEYS)

    assert await keys(products_database_url) == {"fresh"}
    answers = [await post(products_api, "/products", LAMP, key) for key in ("old", "fresh")]
    assert [replayed(answer) for answer in answers] == [(201, None), (201, "true")]

    await fetch(products_database_url, "UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
    async with start_products():

        async def none_is_kept() -> bool:
            return await keys(products_database_url) == set()

        await eventually(none_is_kept)
