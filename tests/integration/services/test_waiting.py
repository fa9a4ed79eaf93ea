"""Clients that wait for an order: with `?wait=`, and on the stream of its history."""

import asyncio
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from redis.asyncio import Redis

from orders.app import create_app
from orders.settings import Settings
from tests.api import Answer, Api, connect, serve
from tests.broker import Vhost
from tests.databases import as_operator, fetch
from tests.events import HEARTBEAT, following
from tests.integration.conftest import is_up
from tests.integration.services.verdicts import ORDER, verdict
from tests.waiting import eventually, reaches

# Past the code under test, as another process does it.
DECIDE = """
WITH changed AS (UPDATE orders SET status = 'done' WHERE id = 1 RETURNING id)
INSERT INTO order_history (order_id, status) SELECT id, 'done' FROM changed
"""


@pytest.fixture
async def url(orders_settings: Settings, orders_redis: Redis, vhost: Vhost) -> AsyncIterator[str]:
    """The base URL of the order service."""
    await vhost.declare()
    async with serve(create_app(orders_settings)) as url:
        yield url


@pytest.fixture
async def api(url: str) -> AsyncIterator[Api]:
    """The order service with one order."""
    async with connect(url) as api:
        await eventually(lambda: is_up(api))
        await api.post("/orders", ORDER)
        yield api


async def waiting(api: Api, order_id: int = 1) -> "asyncio.Task[Answer]":
    """A request that waits."""
    task = asyncio.create_task(api.get(f"/orders/{order_id}?wait=30"))
    await api.get(f"/orders/{order_id}")  # is sent later, so the other one has been answered or waits by now
    return task


async def test_a_final_order_is_answered_at_once_and_a_pending_one_in_time(api: Api, orders_database_url: str) -> None:
    started = time.monotonic()
    pending = [await api.get(f"/orders/1?wait={wait}") for wait in (0, 1)]
    lasted = time.monotonic() - started
    await fetch(orders_database_url, DECIDE)
    final = [await asyncio.wait_for(api.get(f"/orders/1?wait={wait}"), 20) for wait in (0, 30)]

    assert [(answer.status, answer.data["status"]) for answer in pending] == [(200, "pending")] * 2
    assert lasted >= 1
    assert [answer.data["status"] for answer in final] == ["done", "done"]
    assert (await api.get("/orders/404?wait=30")).refusal == (404, "not_found", [])


@pytest.mark.usefixtures("never_polling")
async def test_a_waiting_request_is_answered_as_soon_as_the_order_is_final(api: Api, url: str, vhost: Vhost) -> None:
    await api.post("/orders", ORDER)
    tasks = [await waiting(api) for _ in range(10)]
    await vhost.publish_batch(verdict(1, "rejected", "insufficient_stock"))
    answers = await asyncio.wait_for(asyncio.gather(*tasks), 20)
    task = await waiting(api, order_id=2)
    await api.request("POST", "/orders/2/cancel")
    cancelled = await asyncio.wait_for(task, 20)
    async with following(url, 1) as events, asyncio.timeout(12):
        assert await events.rest() == ["1 pending", "2 rejected"]

    found = {(answer.data["status"], answer.data["reason"]) for answer in answers}
    assert found == {("rejected", "insufficient_stock")}
    assert cancelled.data["status"] == "cancelled"


async def test_a_change_by_another_process_ends_wait_and_stream(api: Api, url: str, orders_database_url: str) -> None:
    task = await waiting(api)
    async with following(url, 1) as events:
        await events.event()
        await fetch(orders_database_url, DECIDE)
        # The next heartbeat would find the change too, after 15 s.
        assert await asyncio.wait_for(events.rest(), 12) == ["2 done"]
    answer = await asyncio.wait_for(task, 12)

    assert answer.data["status"] == "done"


async def test_a_stream_holds_what_is_unseen_and_each_new_entry_as_it_comes(api: Api, url: str, vhost: Vhost) -> None:
    async with following(url, 1) as events, following(url, 1, "1") as new, following(url, 1, "7") as nothing:
        first = await events.event()
        await vhost.publish_batch(verdict(1, "done"))
        second, end = await events.event(), await events.event()
        assert (await new.rest(), await nothing.rest()) == (["2 done"], [])
    await api.request("POST", "/orders/1/cancel")
    history = (await api.get("/orders/1/history")).data
    assert (first, second, end) == (("1", history[0]), ("2", history[1]), None)

    found = []
    for last_event_id in ([], [""], ["0"], ["1"], ["2"]):
        async with following(url, 1, *last_event_id) as events:
            found.append(await events.rest())
    nothing_new = [await api.get("/orders/1/events", headers={"Last-Event-ID": each}) for each in ("3", "7")]

    whole = ["1 pending", "2 done", "3 cancelled"]
    assert found == [whole, whole, whole, whole[1:], whole[2:]]
    assert [(answer.status, answer.raw) for answer in nothing_new] == [(204, b"")] * 2
    assert (await api.get("/orders/404/events")).refusal == (404, "not_found", [])
    assert (events.headers["Content-Type"], events.headers["Cache-Control"]) == ("text/event-stream", "no-store")
    assert len(events.headers["X-Request-ID"]) == 32


async def test_a_quiet_stream_has_heartbeats_and_one_more_client_than_may_wait_is_refused(
    api: Api, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orders.handlers._HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr("orders.watch._MAX_WAITING", 2)
    async with following(url, 1) as events, following(url, 1):
        await events.event()
        assert [await events.block() for _ in range(3)] == [HEARTBEAT] * 3
        full = [await api.get(path) for path in ("/orders/1?wait=1", "/orders/1/events")]
        without_waiting = await api.get("/orders/1")

    refused = [(answer.refusal, answer.headers["Retry-After"]) for answer in full]
    assert refused == [((503, "unavailable", []), "1")] * 2
    assert without_waiting.status == 200
    await reaches(lambda: api.status("/orders/1?wait=1"), 200)


async def test_a_stream_that_cannot_go_on_is_broken_off(
    api: Api, url: str, orders_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended as others are, it would look as if the order were final."""
    monkeypatch.setattr("orders.handlers._HEARTBEAT_SECONDS", 0.05)
    async with following(url, 1) as events:
        await events.event()
        await fetch(as_operator(orders_database_url), "DELETE FROM orders")
        with pytest.raises(aiohttp.ClientPayloadError):
            await events.rest()


async def test_a_client_that_has_the_order_as_it_is_gets_304(api: Api, vhost: Vhost) -> None:
    """The tag is that of the data, whichever trace id and timestamp are around them, and changes with the status."""
    first, second = [await api.get("/orders/1") for _ in range(2)]
    tag = first.headers["ETag"]
    conditions = [tag, tag.removeprefix("W/"), f'"other", {tag}', "*", 'W/"other"', "no tag"]
    before = [await api.get("/orders/1", headers={"If-None-Match": each}) for each in conditions]
    still = await api.get("/orders/1?wait=1", headers={"If-None-Match": tag})
    await vhost.publish_batch(verdict(1, "done"))
    decided = await api.get("/orders/1?wait=30", headers={"If-None-Match": tag})
    await api.request("PATCH", "/orders/1", json={"metadata": {"channel": "app"}})
    changed = await api.get("/orders/1", headers={"If-None-Match": f"{tag}, {decided.headers['ETag']}"})
    unknown = await api.get("/orders/404", headers={"If-None-Match": "*"})

    assert tag.startswith('W/"')
    assert (second.headers["ETag"], second.raw == first.raw) == (tag, False)
    assert [answer.status for answer in (*before, still)] == [304, 304, 304, 304, 200, 200, 304]
    assert {(answer.raw, answer.headers["ETag"]) for answer in (*before[:4], still)} == {(b"", tag)}
    assert [answer.data["status"] for answer in (decided, changed)] == ["done", "done"]
    assert len({tag, decided.headers["ETag"], changed.headers["ETag"]}) == 3
    assert unknown.status == 404
