"""A service at two addresses."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from gateway.upstream.breaker import BreakerParameters
from tests.api import Api, port_of
from tests.integration.gateway.behaviour import DONE, ORDER, Gate, ok, turns
from tests.integration.gateway.opening import breaking, opened, sample
from tests.integration.line import Line, line_to
from tests.integration.upstream import FakeService, fake_service, hang, reset, respond_with
from tests.waiting import eventually
from tools.stack import ports

STATE = 'gateway_breaker_state{{address="{}",state="{}",upstream="orders"}}'
LASTING = BreakerParameters(least_requests=4, first_open=60.0)


@pytest.fixture
async def second() -> AsyncIterator[FakeService]:
    async with fake_service() as fake:
        fake.respond = ok
        yield fake


@pytest.fixture
async def line(orders: FakeService) -> AsyncIterator[Line]:
    """To the first address."""
    orders.respond = ok
    async with line_to(port_of(orders.url)) as line:
        yield line


@pytest.fixture
def urls(line: Line, second: FakeService) -> str:
    return f"http://127.0.0.1:{line.port},{second.url}"


@pytest.fixture
async def gateway(products: FakeService, urls: str) -> AsyncIterator[Api]:
    async with opened(urls, products) as api:
        yield api


async def test_addresses_with_equal_load_take_turns(gateway: Api, orders: FakeService, second: FakeService) -> None:
    for _ in range(10):
        await gateway.post("/orders", ORDER)

    assert len(orders.seen) == len(second.seen) == 5


async def test_the_address_with_least_load_is_asked(gateway: Api, orders: FakeService, second: FakeService) -> None:
    """One request is held, so the others go where there is none."""
    gate = Gate()
    orders.respond = gate.respond
    requests = []
    for _ in range(10):
        requests.append(asyncio.create_task(gateway.get("/orders/1")))
        await eventually(lambda: gate.waiting + sum(request.done() for request in requests) == len(requests))
    gate.open()
    answers = await asyncio.gather(*requests)

    assert [answer.raw for answer in answers] == [DONE] * 10
    assert (len(orders.seen), len(second.seen)) == (1, 9)


@pytest.mark.parametrize("path", ["/orders/1/events", "/orders/1?wait=20"])
async def test_a_waiting_request_is_no_load(gateway: Api, orders: FakeService, second: FakeService, path: str) -> None:
    orders.respond = second.respond = turns(hang, ok)
    waiting = [asyncio.create_task(gateway.get(path))]
    await eventually(lambda: orders.seen or second.seen)
    busy, idle = (orders, second) if orders.seen else (second, orders)
    idle.respond = ok
    for _ in range(10):
        await gateway.post("/orders", ORDER)
    waiting[0].cancel()

    assert (len(busy.seen), len(idle.seen)) == (1 + 5, 5)


async def test_no_request_is_refused_because_one_address_takes_no_connections_whatever_the_load_of_the_other(
    orders: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, and not as retries, of which there may be few: a stopped replica has the least load of all."""
    breaking(monkeypatch, BreakerParameters(least_requests=1_000))
    gate = Gate()
    orders.respond = turns(gate.respond, ok)
    refusing = f"http://127.0.0.1:{ports.choose()}"
    async with opened(f"{refusing},{orders.url}") as gateway:
        held = asyncio.create_task(gateway.get("/orders/1"))
        await eventually(lambda: gate.waiting)
        answers = await asyncio.gather(*(gateway.post("/orders", ORDER) for _ in range(40)))
        gate.open()
        await held

    assert [answer.raw for answer in answers] == [DONE] * 40


async def test_an_address_that_closes_its_connections_gets_no_requests_until_it_is_ready(
    gateway: Api, orders: FakeService, second: FakeService
) -> None:
    """As a process that stops does, which takes requests until the end and then none."""

    async def stopping(request: web.Request) -> web.StreamResponse:
        response = await (hang(request) if request.path == "/health/ready" else ok(request))
        response.force_close()
        return response

    second.respond = stopping
    answers = [await gateway.post("/orders", ORDER) for _ in range(20)]
    sent = [seen.method for seen in second.seen].count("POST")
    second.respond = ok

    async def is_asked_again() -> bool:
        await gateway.post("/orders", ORDER)
        return [seen.method for seen in second.seen].count("POST") > sent

    await eventually(is_asked_again)

    assert [answer.raw for answer in answers] == [DONE] * 20
    assert sent == 1


async def test_while_one_address_is_away_the_other_takes_everything_although_it_recovers(
    orders: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a rolling restart, in which the second is stopped when the first has just come back."""
    breaking(monkeypatch, BreakerParameters(least_requests=4, first_open=0.1, ramp_seconds=60.0))
    orders.respond = reset
    async with opened(f"{orders.url},http://127.0.0.1:{ports.choose()}") as gateway:
        await asyncio.gather(*(gateway.post("/orders", ORDER) for _ in range(8)))
        orders.respond = ok

        async def recovers() -> bool:
            await gateway.post("/orders", ORDER)
            return await sample(gateway, STATE.format(0, "recovering")) == 1

        await eventually(recovers)
        answers = [await gateway.post("/orders", ORDER) for _ in range(20)]

    assert [answer.raw for answer in answers] == [DONE] * 20


async def test_no_reader_notices_that_an_address_dies_and_it_gets_no_requests_while_its_breaker_is_open(
    line: Line, urls: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    retries = 'gateway_retries_total{upstream="orders"}'
    breaking(monkeypatch, LASTING)
    async with opened(urls) as gateway:
        line.cut()
        answers = [await gateway.get("/orders/1") for _ in range(8)]
        open_breakers = [await sample(gateway, STATE.format(address, "open")) for address in (0, 1)]
        before = await sample(gateway, retries)
        answers += [await gateway.get("/orders/1") for _ in range(8)]
        more_retries = await sample(gateway, retries) - before

    assert {answer.raw for answer in answers} == {DONE}
    assert (open_breakers, more_retries) == ([1, 0], 0)


async def test_a_service_is_shown_as_ready_while_one_of_its_addresses_is(
    gateway: Api, line: Line, orders: FakeService, second: FakeService
) -> None:
    async def checks() -> object:
        answer = await gateway.get("/health/ready")
        assert (answer.status, answer.data["status"]) == (200, "ready")
        return answer.data["checks"]["products"], answer.data["checks"]["orders"]

    found = [await checks()]
    line.cut()
    found.append(await checks())
    second.respond = respond_with(503, b"{}")
    found.append(await checks())
    line.restore()
    found.append(await checks())
    second.respond = hang
    found.append(await checks())

    assert found == [("ok", "ok"), ("ok", "ok"), ("ok", "down"), ("ok", "ok"), ("ok", "ok")]
    assert "/health/ready" in {seen.target for seen in orders.seen}
