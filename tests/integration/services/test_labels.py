"""Whose order it is: its customer, its reference, which no other order has, and its metadata."""

import asyncio
from collections import Counter
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from tests.api import Api
from tests.broker import Vhost
from tests.databases import fetch
from tests.integration.services.conftest import Start
from tests.integration.services.verdicts import ORDER, becomes, verdict

LABELS: dict[str, Any] = {"customerId": "M\xfcller", "reference": "A-1", "metadata": {"z": "", "a": "\N{TEAPOT} 1"}}
NONE: dict[str, Any] = {"customerId": None, "reference": None, "metadata": {}}


def labels(order: dict[str, Any]) -> dict[str, Any]:
    return {name: order[name] for name in LABELS}


async def test_an_order_shows_its_labels_everywhere_and_its_events_do_not(orders_api: Api, vhost: Vhost) -> None:
    given: list[dict[str, Any]] = [LABELS, {}, {"metadata": {}}]
    answers = [await orders_api.post("/orders", {**ORDER, **each}) for each in given]

    listed = [await orders_api.data(path) for path in ("/orders", *["/orders/product/7"] * 2)]

    assert [labels(answer.data) for answer in answers] == [LABELS, NONE, NONE]
    assert await orders_api.data("/orders/1") == answers[0].data
    assert listed == [[answer.data for answer in reversed(answers)]] * 3
    created = await vhost.take_events("products.orders")
    assert [set(event["data"]) & set(LABELS) for event in created] == [set()] * len(created)


async def test_a_second_order_with_a_reference_is_refused_and_told_the_first(
    orders_api: Api, orders_database_url: str
) -> None:
    await orders_api.post("/orders", ORDER)
    keyed = {"Idempotency-Key": "key"}
    first = await orders_api.post("/orders", {**ORDER, **LABELS}, headers=keyed)

    content = {**ORDER, "reference": "A-1"}
    refused = [
        await orders_api.post("/orders", content, headers=headers) for headers in ({}, {"Idempotency-Key": "b"})
    ]
    other = await orders_api.post("/orders", {**ORDER, "reference": "a-1"})
    again = await orders_api.post("/orders", {**ORDER, **LABELS}, headers=keyed)

    assert [answer.refusal for answer in refused] == [(409, "duplicate_reference", ["reference"])] * 2
    assert {answer.body["error"]["details"][0]["message"] for answer in refused} == {"The order 2 has it."}
    assert not any("Retry-After" in answer.headers for answer in refused)
    assert (other.status, again.status, again.data) == (201, 201, first.data)
    for written in ("orders", "order_history"):
        assert await fetch(orders_database_url, f"SELECT count(*) FROM {written}") == [(3,)]


async def test_two_processes_give_a_reference_to_one_order(orders_api: Api, start_orders: Start) -> None:
    """An order beside it, which shares the write, is placed."""
    found = []
    async with start_orders() as other_api:
        for n in range(20):
            contents = [{**ORDER, "reference": f"A-{n}"}] * 4 + [ORDER] * 2
            answers = await asyncio.gather(
                *(api.post("/orders", content) for content in contents for api in (orders_api, other_api))
            )
            outcomes = Counter((answer.status, answer.code) for answer in answers)
            [order] = await orders_api.data(f"/orders?reference=A-{n}")
            details = [answer.body["error"]["details"][0] for answer in answers if answer.code]
            told = {detail["message"] for detail in details}
            found.append((outcomes, told == {f"The order {order['id']} has it."}))

    assert found == [({(201, None): 5, (409, "duplicate_reference"): 7}, True)] * 20


@pytest.mark.parametrize("status", ["pending", "done", "rejected", "cancelled"])
async def test_metadata_is_replaced_whatever_the_status_and_nothing_else_changes(
    orders_api: Api, vhost: Vhost, status: str
) -> None:
    content, keyed = {**ORDER, **LABELS}, {"Idempotency-Key": "key"}
    placed = (await orders_api.post("/orders", content, headers=keyed)).data
    if status == "cancelled":
        await orders_api.request("POST", "/orders/1/cancel")
    elif status != "pending":
        short = [{"productId": 7, "requested": 3, "available": 1}]
        why: dict[str, Any] = {"reason": "insufficient_stock", "shortages": short} if status == "rejected" else {}
        await vhost.publish_batch(verdict(1, status, **why))
        await becomes(orders_api, 1, status)
    before = await orders_api.data("/orders/1")

    changed = [
        await orders_api.request("PATCH", "/orders/1", json={"metadata": metadata})
        for metadata in ({"b": "2"}, {"b": "2"}, {})
    ]
    again = await orders_api.post("/orders", content, headers=keyed)

    expected = [{**before, "metadata": metadata} for metadata in ({"b": "2"}, {"b": "2"}, {})]
    assert [(answer.status, answer.data) for answer in changed] == [(200, order) for order in expected]
    assert await orders_api.data("/orders/1") == expected[-1]
    assert len(await orders_api.data("/orders/1/history")) == (1 if status == "pending" else 2)
    # A repeat gets the first answer.
    assert (again.status, again.data) == (201, placed)


async def test_a_change_of_an_unknown_order_is_refused(orders_api: Api) -> None:
    unknown = await orders_api.request("PATCH", "/orders/2", json={"metadata": {}})

    assert unknown.refusal == (404, "not_found", [])


async def test_a_page_that_a_release_without_lines_has_cached_is_not_shown(
    orders_api: Api, orders_redis: Redis
) -> None:
    order = (await orders_api.post("/orders", ORDER)).data
    cached = {name: value for name, value in order.items() if name not in {"lines", "shortages", "expiresAt"}}
    await orders_redis.set("orders:product:7", orjson.dumps({"next": None, "orders": [cached]}))

    assert await orders_api.data("/orders/product/7") == [order]
