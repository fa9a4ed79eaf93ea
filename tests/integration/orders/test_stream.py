import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest
from redis.asyncio import Redis

from orders.app import create_app
from orders.settings import Settings
from tests.api import Api, connect, serve
from tests.broker import Vhost
from tests.databases import fetch
from tests.integration.conftest import is_up
from tests.integration.orders.verdicts import becomes, verdict
from tests.waiting import eventually

ORDER = {"productId": 7, "quantity": 3}
HEARTBEAT = b":\n\n"
_LIMIT = aiohttp.ClientTimeout(total=20)


class Stream:
    """The events of order 1, as they come."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.headers = response.headers
        self._content = response.content

    async def block(self) -> bytes:
        """The next event or comment; empty at the end."""
        return await self._content.readuntil(b"\n\n")

    async def event(self) -> tuple[str, dict[str, Any]] | None:
        """The id and the data of the next event, None at the end."""
        while (block := await self.block()) == HEARTBEAT:
            pass
        if not block:
            return None
        position, kind, data = block.decode().strip().split("\n")
        assert (position[:4], kind, data[:6]) == ("id: ", "event: status", "data: ")
        return position[4:], orjson.loads(data[6:])

    async def rest(self) -> list[str]:
        """Ids and statuses until the server ends the stream."""
        found = []
        while event := await self.event():
            found.append(f"{event[0]} {event[1]['status']}")
        return found


@asynccontextmanager
async def stream(url: str, *last_event_id: str) -> AsyncIterator[Stream]:
    headers = [("Last-Event-ID", each) for each in last_event_id]
    async with (
        aiohttp.ClientSession(url, timeout=_LIMIT) as session,
        session.get("/orders/1/events", headers=headers) as response,
    ):
        assert response.status == 200, await response.read()
        yield Stream(response)


@pytest.fixture
def process() -> AsyncExitStack:
    """What the test may end before its own end."""
    return AsyncExitStack()


@pytest.fixture
async def url(
    orders_settings: Settings, orders_redis: Redis, vhost: Vhost, process: AsyncExitStack
) -> AsyncIterator[str]:
    """The order service, by its base URL."""
    await vhost.declare()
    async with process:
        yield await process.enter_async_context(serve(create_app(orders_settings)))


@pytest.fixture
async def api(url: str) -> AsyncIterator[Api]:
    """With one order."""
    async with connect(url) as api:
        await eventually(lambda: is_up(api))
        await api.post("/orders", ORDER)
        yield api


async def test_a_final_order_gets_its_whole_history_and_the_stream_ends(api: Api, url: str, vhost: Vhost) -> None:
    await vhost.publish_batch(verdict(1, "done"))
    await becomes(api, 1, "done")
    await api.request("POST", "/orders/1/cancel")
    history = (await api.get("/orders/1/history")).data

    async with stream(url) as events:
        found = [await events.event() for _ in range(4)]

    assert found == [("1", history[0]), ("2", history[1]), ("3", history[2]), None]
    assert (events.headers["Content-Type"], events.headers["Cache-Control"]) == ("text/event-stream", "no-store")
    assert len(events.headers["X-Request-ID"]) == 32


async def test_a_pending_order_gets_its_verdict_as_it_comes(api: Api, url: str, vhost: Vhost) -> None:
    async with stream(url) as events:
        first = await events.event()
        await vhost.publish_batch(verdict(1, "rejected", "insufficient_stock"))
        second, end = await events.event(), await events.event()

    history = (await api.get("/orders/1/history")).data
    assert (first, second, end) == (("1", history[0]), ("2", history[1]), None)
    assert [entry["status"] for entry in history] == ["pending", "rejected"]
    assert history[1]["reason"] == "insufficient_stock"


async def test_what_another_process_has_changed_is_streamed_too(api: Api, url: str, orders_database_url: str) -> None:
    async with stream(url) as events:
        await events.event()
        await fetch(
            orders_database_url,
            """
            WITH changed AS (UPDATE orders SET status = 'done' RETURNING id)
            INSERT INTO order_history (order_id, status) SELECT id, 'done' FROM changed
            """,
        )
        # Before the next heartbeat, which would find it too.
        assert await asyncio.wait_for(events.rest(), 10) == ["2 done"]


async def test_a_client_that_comes_back_gets_what_it_has_not_seen(api: Api, url: str, vhost: Vhost) -> None:
    async with stream(url, "1") as events:
        await vhost.publish_batch(verdict(1, "done"))
        assert await events.rest() == ["2 done"]
    await api.request("POST", "/orders/1/cancel")

    found = []
    for last_event_id in ([], [""], ["0"], ["1"], ["2"]):
        async with stream(url, *last_event_id) as events:
            found.append(await events.rest())
    nothing_new = [await api.get("/orders/1/events", headers={"Last-Event-ID": each}) for each in ("3", "7")]

    whole = ["1 pending", "2 done", "3 cancelled"]
    assert found == [whole, whole, whole, whole[1:], whole[2:]]
    assert [(answer.status, answer.raw) for answer in nothing_new] == [(204, b"")] * 2


async def test_a_client_that_has_seen_a_pending_order_waits_for_more(api: Api, url: str, vhost: Vhost) -> None:
    async with stream(url, "7") as events:
        await vhost.publish_batch(verdict(1, "done"))
        assert await events.rest() == []
    assert (await api.get("/orders/1")).data["status"] == "done"


async def test_a_stream_that_cannot_be_is_refused_in_an_envelope(api: Api) -> None:
    wrong = [[each] for each in ("-1", "x", "1.0", "1,2", "1" * 10)] + [["1", "1"]]
    answers = [
        await api.get("/orders/1/events", headers=[("Last-Event-ID", each) for each in values]) for values in wrong
    ]

    assert [answer.refusal for answer in answers] == [(400, "validation_error", ["Last-Event-ID"])] * 6
    assert (await api.get("/orders/404/events")).refusal == (404, "not_found", [])


async def test_a_quiet_stream_has_heartbeats_and_one_that_is_left_frees_its_place(
    api: Api, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orders.handlers._HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr("orders.watch._MAX_WAITING", 1)
    async with stream(url) as events:
        await events.event()
        assert [await events.block() for _ in range(3)] == [HEARTBEAT] * 3
        full = [await api.get(path) for path in ("/orders/1?wait=1", "/orders/1/events")]
        assert [(answer.status, answer.headers["Retry-After"]) for answer in full] == [(503, "1")] * 2

    async def the_place_is_free() -> bool:
        return (await api.get("/orders/1?wait=1")).status == 200

    await eventually(the_place_is_free)


async def test_a_stream_ends_when_the_process_stops(api: Api, url: str, process: AsyncExitStack) -> None:
    async with stream(url) as events:
        await events.event()
        await asyncio.wait_for(process.aclose(), 5)
        assert await events.rest() == []
