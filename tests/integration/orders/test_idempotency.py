import asyncio
from collections import Counter

from redis.asyncio import Redis

from orders.repository import FORGET_KEYS
from orders.settings import Settings
from shared.db import Database, purge
from tests.api import Answer, Api
from tests.broker import Vhost
from tests.databases import PASSWORD, fetch
from tests.integration.orders.conftest import start_orders
from tests.integration.orders.verdicts import becomes, verdict
from tests.integration.upstream import FakeService, reset
from tests.waiting import eventually
from tools.stack.servers import Servers

ORDER = {"productId": 7, "quantity": 3}


async def post(api: Api, *keys: str, **other: int) -> Answer:
    return await api.post("/orders", {**ORDER, **other}, headers=[("Idempotency-Key", key) for key in keys])


def replayed(answer: Answer) -> tuple[int, str | None]:
    return answer.status, answer.headers.get("Idempotency-Replayed")


async def keys(url: str) -> list[str | None]:
    """Of each order."""
    return [key for (key,) in await fetch(url, "SELECT idempotency_key FROM orders ORDER BY id")]


async def test_a_repeat_gets_the_first_answer_again_even_when_the_order_is_done(
    orders_api: Api, orders_database_url: str, vhost: Vhost
) -> None:
    first = await post(orders_api, "key")
    await vhost.publish_batch(verdict(1, "done"))
    await becomes(orders_api, 1, "done")
    again = [await post(orders_api, "key") for _ in range(2)]

    assert [replayed(answer) for answer in (first, *again)] == [(201, None), (201, "true"), (201, "true")]
    assert first.data["status"] == "pending"
    assert [answer.data for answer in again] == [first.data] * 2
    assert {answer.headers["Location"] for answer in again} == {"/orders/1"}
    assert len({answer.body["traceId"] for answer in (first, *again)}) == 3
    without_a_key = [replayed(await post(orders_api)) for _ in range(2)]
    assert without_a_key == [(201, None)] * 2
    assert await keys(orders_database_url) == ["key", None, None]


async def test_a_key_that_was_used_for_another_request_is_refused(orders_api: Api, orders_database_url: str) -> None:
    await post(orders_api, "key")

    answers = [await post(orders_api, "key", quantity=4), await post(orders_api, "key", productId=8)]

    assert [answer.refusal for answer in answers] == [(422, "idempotency_mismatch", [])] * 2
    assert await keys(orders_database_url) == ["key"]


async def test_a_repeat_needs_no_product_service(
    orders_api: Api, orders_redis: Redis, product_service: FakeService
) -> None:
    first = await post(orders_api, "key")
    await orders_redis.flushdb()
    product_service.respond = reset

    again, new = await post(orders_api, "key"), await post(orders_api, "another")

    assert (replayed(again), again.data) == ((201, "true"), first.data)
    assert new.status == 503


async def test_a_refused_request_leaves_no_key(
    orders_api: Api, orders_redis: Redis, orders_database_url: str, prices: dict[int, str]
) -> None:
    unknown = await post(orders_api, "key", productId=9)
    prices[9] = "1.00"
    await orders_redis.flushdb()

    tried_anew = await post(orders_api, "key", productId=9, quantity=1)

    assert (unknown.status, replayed(tried_anew)) == (404, (201, None))
    assert await keys(orders_database_url) == ["key"]


async def test_a_key_that_is_none_is_refused_by_name_and_nothing_is_written(
    orders_api: Api, orders_database_url: str
) -> None:
    wrong = [[""], ["x" * 256], ["two words"], ["schlüssel"], ["\N{NO-BREAK SPACE}key"], ["key", "key"]]

    answers = [await post(orders_api, *each) for each in wrong]

    assert [answer.refusal for answer in answers] == [(400, "validation_error", ["Idempotency-Key"])] * 6
    assert await fetch(orders_database_url, "SELECT 1 FROM orders UNION ALL SELECT 1 FROM outbox") == []


async def test_without_the_unique_key_two_processes_place_two_orders(
    servers: Servers, orders_database_url: str
) -> None:
    """The race that the next tests are about: it is there."""
    owner_url = servers.postgres.database_url("orders_owner", PASSWORD, orders_database_url.rpartition("/")[2])
    await fetch(owner_url, "CREATE TABLE unguarded (LIKE orders INCLUDING DEFAULTS INCLUDING IDENTITY)")
    both_have_looked = asyncio.Barrier(2)

    async def place() -> None:
        assert await fetch(owner_url, "SELECT 1 FROM unguarded WHERE idempotency_key = 'key'") == []
        await both_have_looked.wait()
        await fetch(
            owner_url,
            """
            INSERT INTO unguarded (product_id, quantity, unit_price, total_price, trace_id, idempotency_key)
            VALUES (7, 1, 1, 1, '', 'key')
            """,
        )

    await asyncio.gather(place(), place())
    assert await fetch(owner_url, "SELECT idempotency_key FROM unguarded") == [("key",), ("key",)]


async def test_two_hundred_posts_at_once_with_one_key_make_one_order(
    orders_api: Api, orders_database_url: str, vhost: Vhost
) -> None:
    answers = await asyncio.gather(*(post(orders_api, "key") for _ in range(200)))

    assert {answer.status for answer in answers} <= {201, 409}
    assert {answer.data["id"] for answer in answers if answer.status == 201} == {1}
    assert {answer.headers["Retry-After"] for answer in answers if answer.status == 409} <= {"1"}
    assert await keys(orders_database_url) == ["key"]

    async def is_published() -> bool:
        return await vhost.depth("products.orders") > 0

    await eventually(is_published)
    assert [each["data"]["orderId"] for each in await vhost.take_events("products.orders")] == [1]


async def test_keyed_and_other_orders_share_batches(orders_api: Api, orders_database_url: str) -> None:
    numbers = range(1, 101)
    answers = await asyncio.gather(
        *(post(orders_api, *([f"key-{n}"] if n % 2 else []), quantity=n, productId=8) for n in numbers)
    )
    again = await asyncio.gather(
        *(post(orders_api, *([f"key-{n}"] if n % 2 else []), quantity=n, productId=8) for n in numbers)
    )

    assert [answer.data["quantity"] for answer in (*answers, *again)] == [*numbers, *numbers]
    assert [replayed(answer) for answer in again] == [(201, "true" if n % 2 else None) for n in numbers]
    for first, second in zip(answers[::2], again[::2], strict=True):
        assert first.data == second.data
    stored = await fetch(
        orders_database_url,
        "SELECT quantity, idempotency_key, count(*) OVER (PARTITION BY xmin::text) FROM orders WHERE id <= 100",
    )
    assert {(quantity, key) for quantity, key, _ in stored} == {(n, f"key-{n}" if n % 2 else None) for n in numbers}
    assert max(shared for *_, shared in stored) > 1


async def test_two_processes_place_an_order_with_one_key_once(
    orders_api: Api, orders_settings: Settings, orders_database_url: str
) -> None:
    async with start_orders(orders_settings) as other_api:
        answers = await asyncio.gather(
            *(post(api, f"key-{n}") for n in range(20) for api in [orders_api, other_api] * 5)
        )

    placed = {answer.data["id"] for answer in answers if answer.status == 201}
    assert {answer.status for answer in answers} <= {201, 409}
    assert Counter(replayed(answer) for answer in answers)[(201, None)] == len(placed) == 20
    assert sorted(map(str, await keys(orders_database_url))) == sorted(f"key-{n}" for n in range(20))


async def test_keys_are_forgotten_after_a_day_and_no_earlier(
    orders_api: Api, orders_settings: Settings, orders_database: Database, orders_database_url: str
) -> None:
    for key in ("old", "fresh"):
        await post(orders_api, key)
    await fetch(
        orders_database_url,
        """
        UPDATE orders SET created_at = now()
            - CASE idempotency_key WHEN 'old' THEN '24 hours 1 second' ELSE '23 hours 59 minutes' END::interval
        """,
    )
    await fetch(
        orders_database_url,
        """
        INSERT INTO orders (product_id, quantity, unit_price, total_price, status, trace_id, created_at,
                            idempotency_key, request_hash)
        SELECT 7, 1, 1, 1, 'done', '', now() - interval '2 days', 'many ' || n, ''
        FROM generate_series(1, 1200) AS n
        """,
    )

    await purge(orders_database, FORGET_KEYS)

    kept = "SELECT idempotency_key FROM orders WHERE idempotency_key IS NOT NULL OR request_hash IS NOT NULL"
    assert await fetch(orders_database_url, kept) == [("fresh",)]
    assert await fetch(orders_database_url, "SELECT count(*) FROM orders") == [(1202,)]
    answers = [await post(orders_api, key) for key in ("old", "fresh")]
    assert [replayed(answer) for answer in answers] == [(201, None), (201, "true")]

    await fetch(orders_database_url, "UPDATE orders SET created_at = now() - interval '25 hours'")
    async with start_orders(orders_settings):

        async def none_is_kept() -> bool:
            return await fetch(orders_database_url, kept) == []

        await eventually(none_is_kept)
