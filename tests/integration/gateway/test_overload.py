"""More requests than a service can do: what is beyond is refused at once, and nothing else suffers."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiohttp import web

from tests.api import Answer, Api, connect
from tests.integration.gateway.behaviour import DONE, ORDER, Gate, ok
from tests.integration.gateway.opening import listening, narrow, opened, sample
from tests.integration.shared.web.raw import Peer, connected
from tests.integration.upstream import FakeService, hang
from tests.waiting import eventually

LIMIT = 64
PLACES = 64
CLIENTS = 200
BODY = json.dumps(ORDER).encode()
HEAD = b"POST /orders HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
READ = b"GET /orders/1 HTTP/1.1\r\nHost: test\r\n\r\n"
REFUSED = 'gateway_refused_total{reason="overload"}'
QUEUED = 'gateway_queued{upstream="orders"}'


@pytest.fixture
def gate(orders: FakeService) -> Gate:
    gate = Gate()
    orders.respond = gate.respond
    return gate


@pytest.fixture
def narrow_door(monkeypatch: pytest.MonkeyPatch) -> None:
    """One request at once, and one that waits for 5 s."""
    narrow(monkeypatch, limit=1)


async def fill(gateway: Api, gate: Gate) -> list[asyncio.Task[Answer]]:
    """One request at the service, and one that waits."""
    requests = [asyncio.create_task(gateway.get("/orders/1"))]
    await eventually(lambda: gate.waiting == 1)
    requests.append(asyncio.create_task(gateway.get("/orders/1")))
    await eventually(lambda: is_queued(gateway, 1))
    return requests


async def is_queued(gateway: Api, requests: int) -> bool:
    return await sample(gateway, QUEUED) == requests


@asynccontextmanager
async def reading(port: int) -> AsyncIterator[Peer]:
    async with connected(port) as peer:
        peer.send(READ)
        yield peer


async def test_what_is_beyond_the_limit_and_the_queue_is_refused(
    products: FakeService, orders: FakeService, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow(monkeypatch, limit=LIMIT, queue=PLACES, seconds=0.1)
    async with opened(products, orders) as gateway:
        before = await sample(gateway, REFUSED)
        requests = [asyncio.create_task(gateway.post("/orders", ORDER)) for _ in range(CLIENTS)]
        await eventually(lambda: sum(request.done() for request in requests) == CLIENTS - LIMIT)
        in_flight = await sample(gateway, 'gateway_in_flight{upstream="orders"}')
        refused = await sample(gateway, REFUSED) - before
        gate.open()
        answers = await asyncio.gather(*requests)
        afterwards = await gateway.post("/orders", ORDER)

    beyond = [answer for answer in answers if answer.status != 200]
    assert (len(beyond), gate.most, in_flight) == (CLIENTS - LIMIT, LIMIT, LIMIT)
    assert {(answer.status, answer.code, answer.headers["Retry-After"]) for answer in beyond} == {
        (503, "unavailable", "1")
    }
    assert all(len(answer.body["traceId"]) == 32 for answer in beyond)
    assert {answer.raw for answer in answers if answer.status == 200} == {DONE}
    assert refused == len(beyond)
    assert len(orders.seen) == LIMIT + 1
    assert afterwards.status == 200


@pytest.mark.usefixtures("narrow_door")
async def test_the_rest_is_answered_meanwhile(products: FakeService, orders: FakeService, gate: Gate) -> None:
    products.respond = ok
    paths = ("/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json", "/products/1")
    async with opened(products, orders) as gateway:
        held = await fill(gateway, gate)
        refused = await gateway.get("/orders/1")
        others = {path: (await gateway.get(path)).status for path in paths}
        gate.open()
        await asyncio.gather(*held)

    assert refused.status == 503
    assert others == dict.fromkeys(paths, 200)


@pytest.mark.usefixtures("narrow_door")
async def test_what_is_refused_is_refused_before_its_body_is_there(
    products: FakeService, orders: FakeService, gate: Gate
) -> None:
    """Nor is a body looked at: none is too wrong to be told to come back later."""
    async with listening(products, orders) as port, connect(f"http://127.0.0.1:{port}") as gateway:
        held = await fill(gateway, gate)
        async with connected(port) as peer:
            peer.send(HEAD % 60_000)
            unread = await peer.reply()
        wrong = await gateway.post("/orders", {"productId": "seven"})
        gate.open()
        await asyncio.gather(*held)

    assert (unread.status, unread.code, unread.headers["retry-after"]) == (503, "unavailable", "1")
    assert unread.is_envelope
    assert (wrong.status, wrong.code) == (503, "unavailable")


@pytest.mark.usefixtures("narrow_door")
async def test_a_body_that_is_slow_to_come_takes_nobodys_place(products: FakeService, orders: FakeService) -> None:
    orders.respond = ok
    async with listening(products, orders) as port, AsyncExitStack() as peers:
        slow = [await peers.enter_async_context(connected(port)) for _ in range(5)]
        for peer in slow:
            peer.send(HEAD % len(BODY) + BODY[:5])
        async with connect(f"http://127.0.0.1:{port}") as gateway:
            answer = await gateway.post("/orders", ORDER)
        slow[0].send(BODY[5:])
        late = await slow[0].reply()

    assert (answer.status, late.status) == (200, 200)


@pytest.mark.usefixtures("narrow_door")
async def test_a_place_in_the_queue_is_free_when_its_client_leaves(
    products: FakeService, orders: FakeService, gate: Gate
) -> None:
    async with listening(products, orders) as port, connect(f"http://127.0.0.1:{port}") as gateway:
        at_work = asyncio.create_task(gateway.get("/orders/1"))
        await eventually(lambda: gate.waiting == 1)
        async with reading(port):
            await eventually(lambda: is_queued(gateway, 1))
        await eventually(lambda: is_queued(gateway, 0))
        waiting = asyncio.create_task(gateway.get("/orders/1"))
        await eventually(lambda: is_queued(gateway, 1))
        gate.open()
        answers = await asyncio.gather(at_work, waiting)

    assert [answer.status for answer in answers] == [200, 200]
    assert len(orders.seen) == 2


@pytest.mark.usefixtures("narrow_door")
async def test_a_place_at_the_service_is_given_on_when_its_client_leaves(
    products: FakeService, orders: FakeService, gate: Gate
) -> None:
    async with listening(products, orders) as port, connect(f"http://127.0.0.1:{port}") as gateway:
        async with reading(port):
            await eventually(lambda: gate.waiting == 1)
            waiting = asyncio.create_task(gateway.get("/orders/1"))
            await eventually(lambda: is_queued(gateway, 1))
        await eventually(lambda: len(orders.seen) == 2)
        gate.open()
        answer = await waiting

    assert answer.status == 200


async def test_a_client_that_waits_for_too_long_is_refused(
    products: FakeService, orders: FakeService, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow(monkeypatch, limit=1, seconds=0.1)
    async with opened(products, orders) as gateway:
        at_work = asyncio.create_task(gateway.get("/orders/1"))
        await eventually(lambda: gate.waiting == 1)
        before = await sample(gateway, REFUSED)
        refused = await gateway.get("/orders/1")
        counted = await sample(gateway, REFUSED) - before
        gate.open()
        answer = await at_work

    assert (refused.status, refused.code, refused.headers["Retry-After"]) == (503, "unavailable", "1")
    assert (answer.status, counted) == (200, 1)


@pytest.mark.usefixtures("narrow_door")
async def test_those_that_take_their_time_by_intention_are_no_load(products: FakeService, orders: FakeService) -> None:
    async def respond(request: web.Request) -> web.StreamResponse:
        patient = request.path.endswith("/events") or "wait" in request.query
        return await (hang if patient else ok)(request)

    orders.respond = respond
    async with opened(products, orders) as gateway:
        patient = [
            asyncio.create_task(gateway.get(path)) for path in ("/orders/1/events", "/orders/1?wait=20") for _ in "123"
        ]
        await eventually(lambda: len(orders.seen) == len(patient))
        answers = [await gateway.get("/orders/1") for _ in range(3)]
        for request in patient:
            request.cancel()

    assert [answer.raw for answer in answers] == [DONE] * 3
