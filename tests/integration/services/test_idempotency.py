"""The promises of an `Idempotency-Key`, for every operation that takes one."""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from redis.asyncio import Redis

from orders.repository import FORGET_KEYS as FORGET_ORDER_KEYS
from products.repository import FORGET_KEYS as FORGET_PRODUCT_KEYS
from shared.db import open_database, purge
from tests.api import Answer, Api
from tests.broker import Vhost
from tests.databases import as_operator, fetch
from tests.integration.services.conftest import Start
from tests.integration.services.stock import product
from tests.integration.services.verdicts import becomes, verdict
from tests.integration.upstream import FakeService, reset
from tests.waiting import reaches


@dataclass(frozen=True, slots=True)
class Operation:
    """A request that may carry a key, other requests of the kind, and the statements that show what its service keeps.

    `more_keys` writes 600 keys that are two days old.
    """

    name: str
    api: Api
    start: Start
    url: str
    path: str
    content: dict[str, Any]
    others: list[dict[str, Any]]
    status: int
    done: str
    keys: str = "SELECT key FROM idempotency_keys WHERE key NOT LIKE 'service %'"  # those of requests without one
    forget: str = FORGET_PRODUCT_KEYS
    set_age: str = "UPDATE idempotency_keys SET created_at = now() - CASE key WHEN 'old' THEN {} ELSE {} END::interval"
    more_keys: str = """
    INSERT INTO idempotency_keys (key, request_hash, answer, created_at)
    SELECT 'many ' || n, '', '{}', now() - interval '2 days' FROM generate_series(1, 600) AS n
    """

    async def post(self, *keys: str, api: Api | None = None, path: str = "", **other: Any) -> Answer:
        headers = [("Idempotency-Key", key) for key in keys]
        return await (api or self.api).post(path or self.path, {**self.content, **other}, headers=headers)

    async def times_done(self) -> int:
        return len(await fetch(self.url, self.done))

    async def stored_keys(self) -> set[str]:
        return {key for (key,) in await fetch(self.url, self.keys)}

    def result(self, answer: Answer) -> tuple[bool, str | None]:
        """Says whether the request was done, now or before, and whether the answer is a repeated one."""
        return answer.status == self.status, answer.headers.get("Idempotency-Replayed")


NEW, REPLAYED = (True, None), (True, "true")


@pytest.fixture
def placing(orders_api: Api, start_orders: Start, orders_database_url: str) -> Operation:
    return Operation(
        *("placing", orders_api, start_orders, orders_database_url, "/orders"),
        content={"productId": 7, "quantity": 3},
        others=[
            *({"quantity": 4}, {"productId": 8}),
            *({"customerId": "c"}, {"reference": "A-1"}, {"metadata": {"channel": "app"}}),
        ],
        status=201,
        done="SELECT id FROM orders WHERE quantity = 3",
        keys="SELECT idempotency_key FROM orders WHERE idempotency_key IS NOT NULL OR request_hash IS NOT NULL",
        forget=FORGET_ORDER_KEYS,
        set_age="UPDATE orders SET created_at = now() - CASE idempotency_key WHEN 'old' THEN {} ELSE {} END::interval",
        more_keys="""
        INSERT INTO orders (product_id, quantity, unit_price, total_price, status, trace_id, created_at,
                            idempotency_key, request_hash)
        SELECT 7, 1, 1, 1, 'done', '', now() - interval '2 days', 'many ' || n, '' FROM generate_series(1, 600) AS n
        """,
    )


@pytest.fixture
def creating(products_api: Api, start_products: Start, products_database_url: str) -> Operation:
    return Operation(
        *("creating", products_api, start_products, products_database_url, "/products"),
        content={"name": "Desk lamp", "price": "19.90", "qty": 10},
        others=[{"qty": 11}],
        status=201,
        done="SELECT id FROM products WHERE qty = 10",
    )


@pytest.fixture
async def adjusting(products_api: Api, start_products: Start, products_database_url: str) -> Operation:
    """Takes one piece of ten."""
    path = f"/products/{await product(products_database_url, qty=10)}/stock"
    return Operation(
        *("adjusting", products_api, start_products, products_database_url, path),
        content={"delta": -1, "reason": "broken"},
        others=[{"delta": -2}, {"reason": "lost"}, {"path": "/products/2/stock"}],
        status=200,
        done="SELECT id FROM stock_movements WHERE kind = 'adjustment' AND delta = -1",
    )


@pytest.fixture(params=["placing", "creating", "adjusting"])
def operation(request: pytest.FixtureRequest) -> Operation:
    found: Operation = request.getfixturevalue(request.param)
    return found


async def test_a_repeat_gets_the_first_answer_whatever_has_happened_since(operation: Operation, vhost: Vhost) -> None:
    first = await operation.post("key")
    if operation.name == "placing":
        await vhost.publish_batch(verdict(1, "done"))
        await becomes(operation.api, 1, "done")
    else:
        await operation.api.request("PATCH", "/products/1", json={"name": "Sofa"})
    again = [await operation.post("key") for _ in range(2)]
    without_a_key = [await operation.post() for _ in range(2)]

    assert [operation.result(answer) for answer in (first, *again)] == [NEW, REPLAYED, REPLAYED]
    assert [answer.data for answer in again] == [first.data] * 2
    for name in ("Location", "ETag"):
        assert {answer.headers.get(name) for answer in again} == {first.headers.get(name)}
    assert len({answer.body["traceId"] for answer in (first, *again)}) == 3
    assert [operation.result(answer) for answer in without_a_key] == [NEW] * 2
    assert await operation.times_done() == 3
    assert await operation.stored_keys() == {"key"}


async def test_a_key_that_was_used_for_another_request_is_refused(operation: Operation) -> None:
    """After it, and at the same time as it."""
    await operation.post("key")

    answers = [await operation.post("key", **other) for other in operation.others]

    assert [answer.refusal for answer in answers] == [(422, "idempotency_mismatch", [])] * len(operation.others)
    assert await operation.times_done() == 1
    assert await operation.stored_keys() == {"key"}
    at_once = await asyncio.gather(*(operation.post("another", **other) for other in ({}, operation.others[0])))
    assert sorted(answer.status for answer in at_once) == [operation.status, 422]


async def test_of_equal_requests_at_once_one_is_done_and_the_others_get_its_answer(operation: Operation) -> None:
    """At two processes. Each adjustment takes the last piece: who loses the race must not hear that none is left."""
    is_adjusting = operation.name == "adjusting"
    if is_adjusting:
        await operation.api.post(operation.path, {"delta": -9, "reason": "sold"})
    answers = []
    async with operation.start() as other_api:
        for n in range(5):
            apis = [operation.api, other_api] * 10
            answers += await asyncio.gather(*(operation.post(f"key-{n}", api=api) for api in apis))
            if is_adjusting:
                await operation.api.post(operation.path, {"delta": 1, "reason": "found"})

    assert Counter(map(operation.result, answers)) == {NEW: 5, REPLAYED: 95}
    assert len({json.dumps(answer.data) for answer in answers}) == 5
    assert await operation.times_done() == 5
    assert await operation.stored_keys() == {f"key-{n}" for n in range(5)}


@pytest.mark.parametrize("operation", ["placing", "creating"], indirect=True)
async def test_keys_are_forgotten_after_a_day_and_no_earlier(operation: Operation) -> None:
    for name in ("old", "fresh"):
        await operation.post(name)
    await fetch(as_operator(operation.url), operation.set_age.format("'24 hours 1 second'", "'23 hours 59 minutes'"))
    await fetch(operation.url, operation.more_keys)

    async with open_database(operation.url, "test") as database:
        await purge(database, operation.forget)

    assert await operation.stored_keys() == {"fresh"}
    assert [operation.result(await operation.post(name)) for name in ("old", "fresh")] == [NEW, REPLAYED]

    await fetch(as_operator(operation.url), operation.set_age.format("'25 hours'", "'25 hours'"))
    async with operation.start():
        await reaches(operation.stored_keys, set())
    assert await operation.times_done() == 3


async def test_a_refused_request_leaves_no_key(
    placing: Operation, adjusting: Operation, prices: dict[int, str], orders_redis: Redis
) -> None:
    refused = [
        await placing.post("key", productId=9),
        await adjusting.post("key", path="/products/404/stock"),
        await adjusting.post("key", delta=-11),
    ]
    kept = await placing.stored_keys() | await adjusting.stored_keys()
    prices[9] = "1.00"
    await orders_redis.flushdb()

    tried_anew = [await placing.post("key", productId=9, quantity=1), await adjusting.post("key")]

    assert ([answer.status for answer in refused], kept) == ([404, 404, 409], set())
    assert [placing.result(tried_anew[0]), adjusting.result(tried_anew[1])] == [NEW, NEW]


async def test_a_repeat_asks_no_service(placing: Operation, orders_redis: Redis, product_service: FakeService) -> None:
    first = await placing.post("key")
    await orders_redis.flushdb()
    product_service.respond = reset

    again, new = await placing.post("key"), await placing.post("another")

    assert (placing.result(again), again.data) == (REPLAYED, first.data)
    assert new.status == 503


async def test_a_change_with_a_key_is_made_once(products_api: Api, products_database_url: str) -> None:
    """A repeat gets the first answer although the tag that it carries is no longer the present one."""
    path = f"/products/{await product(products_database_url, qty=10)}"

    async def change(price: str, key: str = "key") -> Answer:
        headers = {"Idempotency-Key": key, "If-Match": '"1"'}
        return await products_api.request("PATCH", path, json={"price": price}, headers=headers)

    first = await change("2.50")
    between = await products_api.request("PATCH", path, json={"price": "3.50"})
    again, misused, late = await change("2.50"), await change("4.50"), await change("2.50", "other-key")

    assert (first.status, first.data["version"], between.data["version"]) == (200, 2, 3)
    assert (again.status, again.data, again.headers["Idempotency-Replayed"]) == (200, first.data, "true")
    assert (misused.code, late.code) == ("idempotency_mismatch", "precondition_failed")
    assert (await products_api.get(path)).data["price"] == "3.50"
