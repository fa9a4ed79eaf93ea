"""Under an overload a plain request is refused before anything is made of it, and nobody sees a difference."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from tests.api import connect
from tests.integration.gateway.behaviour import ORDER, Gate
from tests.integration.gateway.opening import listening, narrow, sample
from tests.integration.shared.web.raw import Peer, connected
from tests.integration.upstream import FakeService
from tests.waiting import eventually

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
BODY = json.dumps(ORDER).encode()
HEADERS = b"Host: test\r\nContent-Type: application/json\r\n"
REFUSED = 'gateway_refused_total{reason="overload"}'
COUNTED = 'http_request_duration_seconds_count{method="POST",route="/orders",status="503"}'
IN_FLIGHT = 'gateway_in_flight{upstream="orders"}'
QUEUED = 'gateway_queued{upstream="orders"}'


def order(headers: bytes = b"", *, body: bytes = BODY) -> bytes:
    return b"POST /orders HTTP/1.1\r\n%s%sContent-Length: %d\r\n\r\n%s" % (HEADERS, headers, len(body), body)


@pytest.fixture
def gate(orders: FakeService) -> Gate:
    gate = Gate()
    orders.respond = gate.respond
    return gate


@pytest.fixture(autouse=True)
def narrow_door(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow(monkeypatch, limit=1)


@asynccontextmanager
async def overloaded(products: FakeService, orders: FakeService, gate: Gate, **settings: str) -> AsyncIterator[int]:
    """The port of a gateway with one order at the service and one that waits."""
    async with listening(products, orders, **settings) as port, connect(f"http://127.0.0.1:{port}") as api:
        held = [asyncio.create_task(api.get("/orders/1"))]
        await eventually(lambda: gate.waiting == 1)
        held.append(asyncio.create_task(api.get("/orders/1")))
        while not await sample(api, QUEUED):
            pass
        try:
            yield port
        finally:
            gate.open()
            await asyncio.gather(*held)


async def refused_without_a_task(peer: Peer, request: bytes) -> bool:
    """Only what the door answers has no `Date`, which aiohttp adds to every response that it makes."""
    peer.send(request)
    reply = await peer.reply()
    assert reply.status == 503
    return "date" not in reply.headers


async def test_a_refusal_at_the_door_is_one_like_any_other(
    products: FakeService, orders: FakeService, gate: Gate
) -> None:
    asked = order(b"traceparent: 00-%s-00f067aa0ba902b7-01\r\nX-Request-ID: mine\r\n" % TRACE.encode())
    async with overloaded(products, orders, gate) as port, connected(port) as peer:
        with capture_logs() as lines:
            peer.send(asked)
            at_the_door = await peer.reply()
        peer.send(asked.replace(b"POST /orders ", b"POST /orders? "))  # another target: no plain one
        inside = await peer.reply()

    assert "date" not in at_the_door.headers
    assert "date" in inside.headers
    assert at_the_door.is_envelope
    assert (at_the_door.status, at_the_door.code) == (503, "unavailable")
    assert (at_the_door.body["traceId"], at_the_door.body["path"]) == (TRACE, "/orders")
    assert at_the_door.body["error"] == inside.body["error"]
    without = {"date", "content-length"}
    assert {name: value for name, value in at_the_door.headers.items() if name not in without} == {
        name: value for name, value in inside.headers.items() if name not in without
    }
    [line] = lines
    assert (line["event"], line["method"], line["path"], line["status"]) == ("request", "POST", "/orders", 503)


async def test_it_is_counted(products: FakeService, orders: FakeService, gate: Gate) -> None:
    async with (
        overloaded(products, orders, gate) as port,
        connect(f"http://127.0.0.1:{port}") as api,
        connected(port) as peer,
    ):
        before = await sample(api, REFUSED), await sample(api, COUNTED)
        assert await refused_without_a_task(peer, order())
        after = await sample(api, REFUSED), await sample(api, COUNTED)

    assert after == (before[0] + 1, before[1] + 1)


async def test_the_connection_goes_on(products: FakeService, orders: FakeService, gate: Gate) -> None:
    async with (
        overloaded(products, orders, gate) as port,
        connect(f"http://127.0.0.1:{port}") as api,
        connected(port) as peer,
    ):
        at_the_door = [await refused_without_a_task(peer, order()) for _ in range(3)]
        peer.send(b"GET /health/live HTTP/1.1\r\nHost: test\r\n\r\n")
        alive = await peer.reply()
        at_the_door.append(await refused_without_a_task(peer, order()))
        gate.open()
        while await sample(api, IN_FLIGHT):
            pass
        peer.send(order())
        accepted = await peer.reply()

    assert at_the_door == [True] * 4
    assert (alive.status, accepted.status) == (200, 200)


async def test_requests_that_come_together_are_answered_in_their_order(
    products: FakeService, orders: FakeService, gate: Gate
) -> None:
    alive = b"GET /health/live HTTP/1.1\r\nHost: test\r\n\r\n"
    async with overloaded(products, orders, gate) as port, connected(port) as peer:
        peer.send(alive + order() + alive)
        statuses = [(await peer.reply()).status for _ in range(3)]

    assert statuses == [200, 503, 200]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (order(b"Connection: close\r\n"), 503),
        (order(b"Host: other\r\n"), 400),
        (order().replace(b"Host: test", b"Host: te st"), 400),
        (b"POST /orders HTTP/1.0\r\n" + order().partition(b"\r\n")[2], 503),
    ],
    ids=["asks to close", "two hosts", "a bad host", "HTTP/1.0"],
)
async def test_what_ends_the_connection_is_not_answered_at_the_door(
    products: FakeService, orders: FakeService, gate: Gate, request_: bytes, expected: int
) -> None:
    async with overloaded(products, orders, gate) as port, connected(port) as peer:
        peer.send(request_)
        reply = await peer.reply()
        rest = await peer.rest()

    assert (reply.status, rest) == (expected, b"")


async def test_a_browser_may_read_the_refusal(products: FakeService, orders: FakeService, gate: Gate) -> None:
    browsers = {"CORS_ORIGINS": "https://shop.example"}
    async with overloaded(products, orders, gate, **browsers) as port, connected(port) as peer:
        peer.send(order(b"Origin: https://shop.example\r\n"))
        reply = await peer.reply()

    assert (reply.status, reply.headers["access-control-allow-origin"]) == (503, "https://shop.example")


async def test_many_that_come_at_once_are_let_in_as_far_as_there_is_room(
    monkeypatch: pytest.MonkeyPatch, products: FakeService, orders: FakeService, gate: Gate
) -> None:
    """They are all there before the first of them has taken its place."""
    narrow(monkeypatch, limit=2, places=3)
    async with listening(products, orders) as port, connect(f"http://127.0.0.1:{port}") as api:
        answers = [asyncio.create_task(api.post("/orders", ORDER)) for _ in range(40)]
        await eventually(lambda: sum(answer.done() for answer in answers) == 35)
        gate.open()
        statuses = sorted([answer.status for answer in await asyncio.gather(*answers)])

    assert statuses == [200] * 5 + [503] * 35
