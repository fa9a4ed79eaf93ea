"""What is sent a second time and what is not, counted by what the services see."""

import asyncio

import pytest

from gateway.upstream.breaker import BreakerParameters
from tests.integration.gateway.behaviour import DONE, ORDER, Gate, bad_gateway, busy, crash, half, ok, turns
from tests.integration.gateway.opening import breaking, opened, sample
from tests.integration.upstream import FakeService, Respond, hang, reset
from tests.waiting import eventually
from tools.stack import ports

BROKEN: dict[str, Respond] = {"reset": reset, "half": half, "502": bad_gateway, "503": busy}
KEYED = {"Idempotency-Key": "key"}
RETRIES = 'gateway_retries_total{upstream="orders"}'
ALL_RETRIES = (RETRIES, 'gateway_retries_total{upstream="products"}')


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize(("line", "headers"), [("GET /orders/1", {}), ("POST /orders", KEYED)], ids=["GET", "keyed"])
async def test_what_cannot_be_done_twice_is_sent_once_more(
    products: FakeService, orders: FakeService, broken: Respond, line: str, headers: dict[str, str]
) -> None:
    method, path = line.split()
    orders.respond = turns(broken, ok)
    async with opened(products, orders) as gateway:
        before = await sample(gateway, RETRIES)
        answer = await gateway.request(method, path, json=ORDER if method == "POST" else None, headers=headers)
        retries = await sample(gateway, RETRIES) - before

    first, second = orders.seen
    assert (answer.status, answer.raw, retries) == (200, DONE, 1)
    assert (first.method, first.target, first.body) == (second.method, second.target, second.body)
    assert first.headers.get("Idempotency-Key") == second.headers.get("Idempotency-Key") == headers.get(*KEYED)


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_there_is_no_third_try(products: FakeService, orders: FakeService, broken: Respond, method: str) -> None:
    orders.respond = broken
    async with opened(products, orders) as gateway:
        answer = await gateway.request(method, "/orders/1")

    assert answer.status in {502, 503}
    assert len(orders.seen) == 2


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize(
    ("line", "content"),
    [
        ("POST /orders", ORDER),
        ("POST /orders/1/cancel", None),
        ("POST /products/1/stock", {"delta": 1, "reason": "found"}),
        ("PATCH /products/1", {"name": "Lamp"}),
    ],
)
async def test_what_may_have_been_done_is_not_sent_again(
    products: FakeService, orders: FakeService, broken: Respond, line: str, content: object
) -> None:
    products.respond = orders.respond = turns(broken, ok)
    async with opened(products, orders) as gateway:
        answer = await gateway.request(*line.split(), json=content)

    assert answer.status in {502, 503}
    assert len([*products.seen, *orders.seen]) == 1


async def test_a_key_makes_no_change_repeatable(products: FakeService, orders: FakeService) -> None:
    """No service looks at the key of a PATCH."""
    products.respond = turns(reset, ok)
    async with opened(products, orders) as gateway:
        answer = await gateway.request("PATCH", "/products/1", json={"name": "Lamp"}, headers=KEYED)

    assert (answer.status, answer.code) == (502, "upstream_error")
    assert len(products.seen) == 1


@pytest.mark.parametrize("line", ["GET /orders/1", "POST /orders"])
async def test_what_took_too_long_is_not_sent_again(products: FakeService, orders: FakeService, line: str) -> None:
    method, path = line.split()
    orders.respond = turns(hang, ok)
    async with opened(products, orders, UPSTREAM_TOTAL_SECONDS="0.2") as gateway:
        answer = await gateway.request(method, path, json=ORDER if method == "POST" else None, headers=KEYED)

    assert (answer.status, answer.code) == (504, "upstream_timeout")
    assert len(orders.seen) == 1


async def test_a_failure_of_the_service_itself_is_not_sent_again(products: FakeService, orders: FakeService) -> None:
    orders.respond = turns(crash, ok)
    async with opened(products, orders) as gateway:
        answer = await gateway.get("/orders/1")

    assert (answer.status, answer.code) == (500, "internal_error")
    assert len(orders.seen) == 1


@pytest.mark.parametrize(
    ("line", "content"),
    [("GET /orders/1", None), ("POST /orders", ORDER), ("PATCH /products/1", {"name": "Lamp"})],
)
async def test_what_never_left_is_sent_again(
    products: FakeService, orders: FakeService, line: str, content: object
) -> None:
    """Addresses take turns, so one of two requests meets the one that refuses connections."""
    products.respond = orders.respond = ok
    nobody = f"http://127.0.0.1:{ports.choose()}"
    async with opened(f"{nobody},{products.url}", f"{nobody},{orders.url}") as gateway:
        before = [await sample(gateway, series) for series in ALL_RETRIES]
        answers = [await gateway.request(*line.split(), json=content) for _ in range(2)]
        retries = sum([await sample(gateway, series) for series in ALL_RETRIES]) - sum(before)

    assert [answer.raw for answer in answers] == [DONE] * 2
    assert len([*products.seen, *orders.seen]) == 2
    assert retries == 1


async def test_retries_at_work_are_a_fifth_of_the_requests_in_flight(
    products: FakeService, orders: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that they cannot double what a service that fails has to do."""
    breaking(monkeypatch, BreakerParameters(least_requests=100))
    first, second = Gate(reset), Gate(ok)
    orders.respond = turns(*[first.respond] * 20, second.respond)
    async with opened(products, orders) as gateway:
        requests = [asyncio.create_task(gateway.get("/orders/1")) for _ in range(20)]
        await eventually(lambda: first.waiting == 20)
        first.open()
        await eventually(lambda: second.waiting == 4 and sum(request.done() for request in requests) == 16)
        second.open()
        answers = await asyncio.gather(*requests)

    assert len(orders.seen) == 24
    assert sorted(answer.status for answer in answers) == [200] * 4 + [502] * 16


async def test_three_retries_are_always_allowed(products: FakeService, orders: FakeService) -> None:
    first, second = Gate(reset), Gate(ok)
    orders.respond = turns(*[first.respond] * 5, second.respond)
    async with opened(products, orders) as gateway:
        requests = [asyncio.create_task(gateway.get("/orders/1")) for _ in range(5)]
        await eventually(lambda: first.waiting == 5)
        first.open()
        await eventually(lambda: second.waiting == 3 and sum(request.done() for request in requests) == 2)
        second.open()
        answers = await asyncio.gather(*requests)
        orders.respond = turns(reset, ok)
        afterwards = await gateway.get("/orders/1")

    assert len(orders.seen) == 8 + 2
    assert afterwards.status == 200
    assert sorted(answer.status for answer in answers) == [200] * 3 + [502] * 2
