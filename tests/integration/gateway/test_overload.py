"""More requests than a service can take: those beyond are refused at once, and nothing else suffers."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import pytest

from gateway import app
from gateway.upstream import pool
from gateway.upstream.admission import ConcurrencyLimit
from tests.api import Answer, Api, connect
from tests.integration.gateway.behaviour import DONE, ORDER, Gate, busy, crash, ok, turns
from tests.integration.gateway.opening import PATIENT, listening, narrow, opened, sample
from tests.integration.shared.web.raw import connected
from tests.integration.upstream import FakeService, Respond
from tests.waiting import eventually, reaches

BODY = json.dumps(ORDER).encode()
HEAD = b"POST /orders HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
READ = b"GET /orders/1 HTTP/1.1\r\nHost: test\r\n\r\n"
REFUSED = 'gateway_refused_total{reason="overload"}'
BODIES = 'gateway_refused_total{reason="bodies"}'


@pytest.fixture
def gate(orders: FakeService) -> Gate:
    gate = Gate()
    orders.respond = gate.respond
    return gate


@pytest.fixture(autouse=True)
def narrowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One request in flight, and one that may wait for a minute."""
    narrow(monkeypatch, limit=1, queue=1, seconds=60.0)


async def load(gateway: Api) -> list[float]:
    return [await sample(gateway, f'gateway_{name}{{upstream="orders"}}') for name in ("in_flight", "queued")]


async def has(gateway: Api, *expected: float) -> None:
    """Waits for so many requests in flight and in the queue."""
    await reaches(lambda: load(gateway), [*expected])


@asynccontextmanager
async def filled(gateway: Api, gate: Gate) -> AsyncIterator[None]:
    """One request at the service, and one that waits; both are answered at the end."""
    requests: list[asyncio.Task[Answer]] = []
    for queued in (0, 1):
        requests.append(asyncio.create_task(gateway.get("/orders/1")))
        await has(gateway, 1, queued)
    yield
    gate.open()
    assert [answer.status for answer in await asyncio.gather(*requests)] == [200, 200]


async def test_requests_beyond_the_limit_and_the_queue_are_refused(
    orders: FakeService, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow(monkeypatch, limit=4, queue=3, seconds=60.0)
    async with opened(orders, **PATIENT) as gateway:
        before = await sample(gateway, REFUSED)
        requests = [asyncio.create_task(gateway.post("/orders", ORDER)) for _ in range(10)]
        await eventually(lambda: sum(request.done() for request in requests) == 3)
        await has(gateway, 4, 3)
        assert await sample(gateway, 'gateway_concurrency_limit{upstream="orders"}') == 4
        refused = await sample(gateway, REFUSED) - before
        gate.open()
        answers = await asyncio.gather(*requests)

    beyond = [answer for answer in answers if answer.status != 200]
    assert [(answer.refusal, answer.headers["Retry-After"]) for answer in beyond] == [
        ((503, "unavailable", []), "1")
    ] * 3
    assert [answer.raw for answer in answers if answer.status == 200] == [DONE] * 7
    assert (refused, gate.most, len(orders.seen)) == (3, 4, 7)


@pytest.mark.parametrize(
    ("target", "slots"),
    [
        ("/orders/1", 1),
        ("/orders", 13),
        ("/orders?limit=3", 1),
        ("/products?ids=1", 1),
        ("/products?ids=1,2,3,4,5,6,7,8", 3),
    ],
)
async def test_a_page_takes_a_slot_for_each_four_items_that_it_may_have(
    orders: FakeService, gate: Gate, target: str, slots: int
) -> None:
    async with opened(orders) as gateway:
        request = asyncio.create_task(gateway.get(target))
        name = target.strip("/").partition("/")[0].partition("?")[0]
        await reaches(lambda: sample(gateway, f'gateway_in_flight{{upstream="{name}"}}'), slots)
        gate.open()
        assert (await request).status == 200


@pytest.mark.parametrize(
    ("respond", "expected"), [(ok, 2), (crash, 1), (turns(busy, ok), 1)], ids=["ok", "500", "second try"]
)
async def test_only_an_answer_to_the_first_try_that_is_no_failure_moves_the_limit(
    orders: FakeService, monkeypatch: pytest.MonkeyPatch, respond: Respond, expected: int
) -> None:
    """Others may be fast because nothing was done, or slow because of the pause before a retry."""
    monkeypatch.setattr(pool, "ConcurrencyLimit", partial(ConcurrencyLimit, start=1, least=1, most=2, target=60.0))
    orders.respond = respond
    async with opened(orders) as gateway:
        await gateway.get("/orders/1")
        assert await sample(gateway, 'gateway_concurrency_limit{upstream="orders"}') == expected


async def test_a_refusal_comes_before_the_body_all_else_is_served(
    products: FakeService, orders: FakeService, gate: Gate
) -> None:
    """The body is not looked at: even a wrong one may come again later."""
    products.respond = ok
    paths = ("/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json", "/products/1")
    async with (
        listening(orders, products, **PATIENT) as port,
        connect(f"http://127.0.0.1:{port}") as gateway,
        filled(gateway, gate),
        connected(port) as peer,
    ):
        peer.send(HEAD % 60_000)
        unread = await peer.reply()
        wrong = await gateway.post("/orders", {"productId": "seven"})
        others = {path: (await gateway.get(path)).status for path in paths}

    assert (unread.status, unread.code, unread.headers["retry-after"]) == (503, "unavailable", "1")
    assert unread.is_envelope
    assert (wrong.status, wrong.code) == (503, "unavailable")
    assert others == dict.fromkeys(paths, 200)


async def test_a_body_that_is_slow_to_come_takes_no_slot(orders: FakeService) -> None:
    orders.respond = ok
    async with listening(orders) as port, AsyncExitStack() as peers:
        slow = [await peers.enter_async_context(connected(port)) for _ in range(5)]
        for peer in slow:
            peer.send(HEAD % len(BODY) + BODY[:5])
        async with connect(f"http://127.0.0.1:{port}") as gateway:
            answer = await gateway.post("/orders", ORDER)
        slow[0].send(BODY[5:])
        late = await slow[0].reply()

    assert (answer.status, late.status) == (200, 200)


async def test_bodies_on_their_way_fill_no_more_than_the_room_for_them(
    orders: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has come with its head is there already, and needs none."""
    monkeypatch.setattr(app, "_MOST_BYTES", 100_000)
    orders.respond = ok
    asking = HEAD.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n") % 60_000
    async with listening(orders) as port, connect(f"http://127.0.0.1:{port}") as gateway:

        async def ask() -> Answer:
            async with connected(port) as peer:
                peer.send(asking)
                return await peer.reply()

        before = await sample(gateway, BODIES)
        async with connected(port) as slow:
            slow.send(asking)
            begun, beyond, whole = await slow.reply(), await ask(), await gateway.post("/orders", ORDER)
        counted = await sample(gateway, BODIES) - before
        await reaches(lambda: status_of(ask()), 100)

    assert (begun.status, whole.status, counted) == (100, 200, 1)
    assert (beyond.refusal, beyond.headers["retry-after"]) == ((503, "unavailable", []), "1")


async def status_of(asked: Awaitable[Answer]) -> int:
    return (await asked).status


async def test_a_client_that_leaves_frees_its_place_in_the_queue_and_its_slot(orders: FakeService, gate: Gate) -> None:
    async with listening(orders, **PATIENT) as port, connect(f"http://127.0.0.1:{port}") as gateway:
        async with connected(port) as at_work:
            at_work.send(READ)
            await has(gateway, 1, 0)
            async with connected(port) as queued:
                queued.send(READ)
                await has(gateway, 1, 1)
            await has(gateway, 1, 0)
            waiting = asyncio.create_task(gateway.get("/orders/1"))
            await has(gateway, 1, 1)
        await eventually(lambda: len(orders.seen) == 2)
        gate.open()
        assert (await waiting).status == 200
