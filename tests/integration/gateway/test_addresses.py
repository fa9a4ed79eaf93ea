"""A service at two addresses."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.upstream.breaker import BreakerParameters
from tests.api import Api
from tests.integration.gateway.behaviour import DONE, ORDER, Gate, ok, turns
from tests.integration.gateway.opening import breaking, opened, sample
from tests.integration.line import Line, line_to
from tests.integration.upstream import FakeService, fake_service, hang, respond_with
from tests.waiting import eventually
from tools.stack import ports

QUICK = BreakerParameters(least_requests=4, first_open=0.2, ramp_seconds=0.2)


@pytest.fixture
async def second() -> AsyncIterator[FakeService]:
    async with fake_service() as fake:
        fake.respond = ok
        yield fake


@pytest.fixture
async def line(orders: FakeService) -> AsyncIterator[Line]:
    """To the first address."""
    orders.respond = ok
    async with line_to(int(orders.url.rpartition(":")[2])) as line:
        yield line


@pytest.fixture
async def gateway(
    products: FakeService, line: Line, second: FakeService, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Api]:
    breaking(monkeypatch, QUICK)
    async with opened(products, f"http://127.0.0.1:{line.port},{second.url}") as api:
        yield api


async def test_equals_take_turns(gateway: Api, orders: FakeService, second: FakeService) -> None:
    for _ in range(10):
        await gateway.post("/orders", ORDER)

    assert len(orders.seen) == len(second.seen) == 5


async def test_the_one_with_less_to_do_is_asked(gateway: Api, orders: FakeService, second: FakeService) -> None:
    """One request hangs, so the others go where there is none."""
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
async def test_one_that_waits_by_intention_is_nothing_to_do(
    gateway: Api, orders: FakeService, second: FakeService, path: str
) -> None:
    orders.respond = second.respond = turns(hang, ok)
    patient = [asyncio.create_task(gateway.get(path))]
    await eventually(lambda: orders.seen or second.seen)
    busy, idle = (orders, second) if orders.seen else (second, orders)
    idle.respond = ok
    for _ in range(10):
        await gateway.post("/orders", ORDER)
    patient[0].cancel()

    assert (len(busy.seen), len(idle.seen)) == (1 + 5, 5)


async def test_a_second_try_goes_to_another_however_much_that_has_to_do(
    products: FakeService, orders: FakeService
) -> None:
    gate = Gate()
    orders.respond = turns(gate.respond, ok)
    nobody = f"http://127.0.0.1:{ports.choose()}"
    async with opened(products, f"{nobody},{orders.url}") as gateway:
        held = asyncio.create_task(gateway.get("/orders/1"))
        await eventually(lambda: gate.waiting)
        answers = [await gateway.get("/orders/1"), await gateway.post("/orders", ORDER)]
        gate.open()
        await held

    assert [answer.raw for answer in answers] == [DONE] * 2


async def test_one_that_dies_is_noticed_by_no_reader_and_left_alone_until_it_is_back(
    gateway: Api, line: Line, orders: FakeService, second: FakeService
) -> None:
    series = 'gateway_breaker_state{address="0",state="%s",upstream="orders"}'

    line.cut()
    answers = [await gateway.get("/orders/1") for _ in range(8)]
    while_dead = [await sample(gateway, series % "open"), await sample(gateway, series.replace('"0"', '"1"') % "open")]
    retries = await sample(gateway, 'gateway_retries_total{upstream="orders"}')
    answers += [await gateway.get("/orders/1") for _ in range(8)]
    more_retries = await sample(gateway, 'gateway_retries_total{upstream="orders"}') - retries
    line.restore()

    async def takes_its_half() -> bool:
        orders.seen.clear()
        second.seen.clear()
        answers.extend([await gateway.get("/orders/1") for _ in range(10)])
        return len(orders.seen) == len(second.seen) == 5

    await eventually(takes_its_half)

    assert {answer.raw for answer in answers} == {DONE}
    assert (while_dead, more_retries <= 1) == ([1, 0], True)


async def test_the_service_is_ready_while_one_is(
    gateway: Api, line: Line, orders: FakeService, second: FakeService
) -> None:
    async def checks() -> str:
        return str((await gateway.get("/health/ready")).data["checks"]["orders"])

    both = await checks()
    line.cut()
    one = await checks()
    second.respond = respond_with(503, b"{}")
    none = await checks()
    line.restore()
    other = await checks()
    second.respond = hang
    other_hangs = await checks()

    assert [both, one, none, other, other_hangs] == ["ok", "ok", "down", "ok", "ok"]
    assert "/health/ready" in {seen.target for seen in orders.seen}
