import asyncio
import time
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis

from orders.app import create_app
from orders.settings import Settings
from tests.api import Answer, Api, connect, serve
from tests.broker import Vhost
from tests.databases import fetch
from tests.integration.conftest import is_up
from tests.integration.orders.conftest import start_orders
from tests.integration.orders.verdicts import becomes, verdict
from tests.waiting import eventually

ORDER = {"productId": 7, "quantity": 3}


async def waiting(api: Api, order_id: int = 1) -> "asyncio.Task[Answer]":
    """A request that waits."""
    task = asyncio.create_task(api.get(f"/orders/{order_id}?wait=30"))
    await api.get(f"/orders/{order_id}")  # sent later, so that the other one has been answered or waits by now
    return task


async def test_an_order_that_is_final_is_answered_at_once(orders_api: Api, vhost: Vhost) -> None:
    await orders_api.post("/orders", ORDER)
    await vhost.publish_batch(verdict(1, "done"))
    await becomes(orders_api, 1, "done")

    started = time.monotonic()
    answers = [await orders_api.get(f"/orders/1?wait={wait}") for wait in (0, 30)]

    assert [answer.data["status"] for answer in answers] == ["done", "done"]
    assert time.monotonic() - started < 5
    assert (await orders_api.get("/orders/404?wait=30")).refusal == (404, "not_found", [])


async def test_whoever_waits_is_answered_as_soon_as_the_order_is_final(
    orders_settings: Settings, vhost: Vhost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orders.app._POLL_SECONDS", 60.0)
    await vhost.declare()
    async with start_orders(orders_settings) as api:
        for _ in range(2):
            await api.post("/orders", ORDER)
        tasks = [await waiting(api) for _ in range(10)]
        await vhost.publish_batch(verdict(1, "rejected", "insufficient_stock"))
        answers = await asyncio.wait_for(asyncio.gather(*tasks), 10)

        task = await waiting(api, order_id=2)
        await api.request("POST", "/orders/2/cancel")
        cancelled = await asyncio.wait_for(task, 10)

    found = {(answer.data["status"], answer.data["reason"]) for answer in answers}
    assert found == {("rejected", "insufficient_stock")}
    assert cancelled.data["status"] == "cancelled"


async def test_what_another_process_has_changed_is_found_too(orders_api: Api, orders_database_url: str) -> None:
    await orders_api.post("/orders", ORDER)
    task = await waiting(orders_api)

    await fetch(orders_database_url, "UPDATE orders SET status = 'done'")
    answer = await asyncio.wait_for(task, 10)

    assert answer.data["status"] == "done"


async def test_an_order_that_stays_pending_is_answered_when_the_time_is_over(orders_api: Api) -> None:
    await orders_api.post("/orders", ORDER)

    started = time.monotonic()
    answer = await orders_api.get("/orders/1?wait=1")

    assert (answer.status, answer.data["status"]) == (200, "pending")
    assert 1.0 <= time.monotonic() - started < 5


async def test_whoever_waits_is_answered_when_the_process_stops(
    orders_settings: Settings, orders_redis: Redis
) -> None:
    async with AsyncExitStack() as process:
        url = await process.enter_async_context(serve(create_app(orders_settings)))
        async with connect(url) as api:
            await eventually(lambda: is_up(api))
            await api.post("/orders", ORDER)
            task = await waiting(api)
            await process.aclose()
            answer = await asyncio.wait_for(task, 5)

    assert (answer.status, answer.data["status"]) == (200, "pending")


async def test_one_more_than_may_wait_is_told_to_come_again(
    orders_api: Api, monkeypatch: pytest.MonkeyPatch, vhost: Vhost
) -> None:
    monkeypatch.setattr("orders.watch._MAX_WAITING", 1)
    await orders_api.post("/orders", ORDER)
    task = await waiting(orders_api)

    refused = await orders_api.get("/orders/1?wait=30")
    without_waiting = await orders_api.get("/orders/1")
    await vhost.publish_batch(verdict(1, "done"))
    answer = await asyncio.wait_for(task, 10)

    assert (refused.refusal, refused.headers["Retry-After"]) == ((503, "unavailable", []), "1")
    assert (without_waiting.status, answer.data["status"]) == (200, "done")
