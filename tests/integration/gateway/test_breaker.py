"""A service that keeps failing gets no requests, and gets its load back when it answers again.

test_breaker.py of the unit tests has the rules.
"""

import asyncio
import socket

import pytest

from gateway.upstream.breaker import BreakerParameters
from tests.api import Answer, Api, port_of
from tests.integration.gateway.behaviour import DONE, ORDER, Gate, bad_gateway, busy, crash, half, ok
from tests.integration.gateway.opening import breaking, listening, opened, sample
from tests.integration.line import Line
from tests.integration.shared.web.raw import connected
from tests.integration.upstream import FakeService, Respond, envelope, hang, reset, respond_with
from tests.waiting import eventually

LEAST = 20
# Like the defaults, but an open breaker stays open for the rest of the test.
LASTING = BreakerParameters(first_open=60.0, longest_open=60.0)
REFUSED = 'gateway_refused_total{reason="breaker"}'
STATES = ("closed", "open", "half_open", "recovering")
too_late = respond_with(504, envelope(504, None, error={"code": "upstream_timeout", "message": "too late"}))


async def place(gateway: Api, times: int = LEAST, milliseconds: str = "") -> list[Answer]:
    """Orders, none of which is sent twice."""
    headers = {"X-Request-Timeout-Ms": milliseconds}
    return await asyncio.gather(*(gateway.post("/orders", ORDER, headers=headers) for _ in range(times)))


async def state(gateway: Api) -> str:
    """The state of the order service's breaker by the metrics."""
    series = 'gateway_breaker_state{{address="0",state="{}",upstream="orders"}}'
    [found] = [name for name in STATES if await sample(gateway, series.format(name)) == 1]
    return found


async def answers_with(gateway: Api, status: int) -> bool:
    return {answer.status for answer in await place(gateway, 1)} == {status}


@pytest.fixture
def lasting(monkeypatch: pytest.MonkeyPatch) -> None:
    breaking(monkeypatch, LASTING)


@pytest.mark.usefixtures("lasting")
async def test_a_service_that_keeps_failing_gets_no_requests(products: FakeService, orders: FakeService) -> None:
    orders.respond, products.respond = reset, ok
    async with opened(orders, products) as gateway:
        failures = await place(gateway, LEAST - 1)
        before = await state(gateway)
        failures += await place(gateway, 1)
        after, uncounted = await state(gateway), await sample(gateway, REFUSED)
        refused = [await gateway.get("/orders/1"), await gateway.post("/orders", ORDER)]
        counted = await sample(gateway, REFUSED) - uncounted
        other = await gateway.get("/products/1")

    assert (before, after, counted) == ("closed", "open", 2)
    assert {(answer.status, answer.code) for answer in failures} == {(504, "outcome_unknown")}
    for answer in refused:
        assert (answer.status, answer.code, 1 < int(answer.headers["Retry-After"]) <= 60) == (503, "unavailable", True)
    assert len(orders.seen) == LEAST
    assert (other.status, other.raw) == (200, DONE)


@pytest.mark.usefixtures("lasting")
@pytest.mark.parametrize(
    ("respond", "milliseconds", "seconds", "expected"),
    [
        (half, "", "5", "open"),
        (bad_gateway, "", "5", "open"),
        (crash, "", "5", "closed"),  # an answer of the service itself
        (busy, "", "5", "closed"),
        (too_late, "", "5", "open"),
        (hang, "", "0.2", "open"),
        (hang, "500", "0.2", "open"),  # the client left as much time as any request has
        (too_late, "1000", "5", "open"),
        (too_late, "999", "5", "closed"),
        (hang, "50", "5", "closed"),
        (ok, "0", "5", "closed"),  # never sent
    ],
    ids=["half", "502", "500", "503", "504", "cut here", "more than it may", "a second", "less", "50 ms", "no time"],
)
async def test_broken_answers_and_time_outs_are_failures_unless_a_client_asked_for_less_than_a_second(
    orders: FakeService, respond: Respond, milliseconds: str, seconds: str, expected: str
) -> None:
    """Otherwise one client could have the service refused to all others."""
    orders.respond = respond
    async with opened(orders, REQUEST_SECONDS=seconds) as gateway:
        await place(gateway, LEAST, milliseconds)
        assert await state(gateway) == expected


@pytest.mark.usefixtures("lasting")
@pytest.mark.parametrize(("respond", "expected"), [(reset, "open"), (bad_gateway, "open"), (busy, "closed")])
async def test_a_stream_that_does_not_begin_is_an_answer(orders: FakeService, respond: Respond, expected: str) -> None:
    orders.respond = respond
    async with opened(orders) as gateway:
        await asyncio.gather(*(gateway.get("/orders/1/events") for _ in range(LEAST)))
        assert await state(gateway) == expected


async def test_a_client_that_leaves_says_nothing_about_the_service(orders: FakeService) -> None:
    gate = Gate()
    orders.respond = gate.respond
    async with listening(orders) as port:
        for _ in range(LEAST):
            async with connected(port) as peer:
                peer.send(b"GET /orders/1 HTTP/1.1\r\nHost: test\r\n\r\n")
                await eventually(lambda: gate.waiting)
            await eventually(lambda: not gate.waiting)
        gate.open()
        async with connected(port) as peer:
            peer.send(b"GET /orders/1 HTTP/1.1\r\nHost: test\r\n\r\n")
            answer = await peer.reply()

    assert (answer.status, answer.raw) == (200, DONE)


@pytest.mark.usefixtures("lasting")
async def test_an_address_that_was_away_is_asked_as_soon_as_it_is_back(orders: FakeService) -> None:
    orders.respond = ok
    with socket.socket() as away:
        away.bind(("127.0.0.1", 0))
        async with opened(f"http://127.0.0.1:{away.getsockname()[1]}", orders) as gateway:
            statuses = {answer.status for answer in await place(gateway)}
            opened_first = await state(gateway)
            line = Line(port_of(orders.url))
            async with await asyncio.start_server(line.carry, sock=away.dup()):
                await eventually(lambda: answers_with(gateway, 200))
                line.cut()

    assert (statuses, opened_first) == ({503}, "open")


async def test_a_service_that_is_well_gets_its_load_back(orders: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    breaking(monkeypatch, BreakerParameters(first_open=0.1, ramp_seconds=0.1))
    orders.respond = reset
    async with opened(orders) as gateway:
        await place(gateway)
        opened_first = await state(gateway)
        orders.respond = ok

        async def takes_everything() -> bool:
            return {answer.status for answer in await place(gateway)} == {200} and await state(gateway) == "closed"

        await eventually(takes_everything)

    assert opened_first == "open"
