"""How long a request may take, who may say so, and what the service is told of it."""

import asyncio
import time

import pytest

from tests.integration.gateway.behaviour import DONE, ORDER, busy, ok, trickle, turns
from tests.integration.gateway.opening import narrow, opened
from tests.integration.upstream import FakeService, Respond, hang

HEADER = "X-Request-Timeout-Ms"
SHORT = "0.2"
# For what has to end after 0.2 s, on a machine that has other things to do.
SOON = 2.0


def told(fake: FakeService) -> list[int]:
    """Milliseconds, of each request that the service has seen."""
    return [int(seen.headers[HEADER]) for seen in fake.seen]


@pytest.mark.parametrize("respond", [hang, trickle], ids=["hang", "trickle"])
@pytest.mark.parametrize(("method", "path"), [("GET", "/orders/1"), ("POST", "/orders")])
async def test_a_service_that_takes_too_long_is_cut(
    products: FakeService, orders: FakeService, respond: Respond, method: str, path: str
) -> None:
    orders.respond = respond
    async with opened(products, orders, REQUEST_SECONDS=SHORT) as gateway:
        started = time.monotonic()
        answer = await gateway.request(method, path, json=ORDER if method == "POST" else None)

    assert (answer.status, answer.code) == (504, "upstream_timeout")
    assert float(SHORT) <= time.monotonic() - started < SOON
    assert len(orders.seen) == 1


async def test_the_service_is_told_what_is_left(products: FakeService, orders: FakeService) -> None:
    orders.respond = ok
    async with opened(products, orders, REQUEST_SECONDS="3") as gateway:
        await gateway.get("/orders/1")
        await gateway.get("/orders/1?wait=2")
        await gateway.post("/orders", ORDER)

    [read, waited, placed] = told(orders)
    assert 2000 < read < 3000
    assert 4000 < waited < 5000
    assert 2000 < placed < 3000


async def test_a_second_try_has_what_the_first_and_the_pause_have_left(
    products: FakeService, orders: FakeService
) -> None:
    orders.respond = turns(busy, ok)
    async with opened(products, orders) as gateway:
        answer = await gateway.get("/orders/1")

    first, second = told(orders)
    assert answer.status == 200
    assert 4000 < first < 5000
    assert 25 <= first - second < 2000


async def test_a_client_may_have_less_time(products: FakeService, orders: FakeService) -> None:
    orders.respond = hang
    async with opened(products, orders) as gateway:
        started = time.monotonic()
        answer = await gateway.get("/orders/1", headers={HEADER: "200"})

    [milliseconds] = told(orders)
    assert (answer.status, answer.code) == (504, "upstream_timeout")
    assert 0 < milliseconds < 200
    assert 0.2 <= time.monotonic() - started < SOON


async def test_a_client_that_has_no_time_is_not_served(products: FakeService, orders: FakeService) -> None:
    async with opened(products, orders) as gateway:
        answer = await gateway.get("/orders/1", headers={HEADER: "0"})

    assert (answer.status, answer.code) == (504, "upstream_timeout")
    assert orders.seen == []


@pytest.mark.parametrize("asked", ["60000", "999999", "1000000", "-1", "1e3", "200.0", "0x10", " ", "", "soon", "²"])
async def test_a_client_may_not_have_more_time_and_nonsense_says_nothing(
    products: FakeService, orders: FakeService, asked: str
) -> None:
    orders.respond = ok
    async with opened(products, orders, REQUEST_SECONDS="3") as gateway:
        answer = await gateway.get("/orders/1", headers={HEADER: asked})

    [milliseconds] = told(orders)
    assert (answer.status, answer.raw) == (200, DONE)
    assert 2000 < milliseconds < 3000


async def test_a_request_that_waits_for_its_turn_has_no_more_time_than_another(
    products: FakeService, orders: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could wait in the queue for 5 s."""
    narrow(monkeypatch, limit=1, queue=1, seconds=5.0)
    orders.respond = hang
    async with opened(products, orders, REQUEST_SECONDS=SHORT) as gateway:
        started = time.monotonic()
        answers = await asyncio.gather(gateway.get("/orders/1"), gateway.get("/orders/2"))

    assert {answer.status for answer in answers} <= {503, 504}
    assert time.monotonic() - started < SOON
