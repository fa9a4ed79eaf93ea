"""Requests that wait for an order, with a gateway that else gives a service a tenth of a second."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from aiohttp import web

from gateway.app import create_app
from gateway.settings import Settings
from tests.api import Api, connect, serve
from tests.integration.bad_input import Case, expected, of_path, refusals
from tests.integration.upstream import FakeService, envelope, hang, respond_with
from tests.waiting import eventually

DONE = envelope(200, {"id": 1, "status": "done"})
LONGER_THAN_THE_LIMIT = 0.3
MOST_WAITING = 256


@pytest.fixture
async def hasty_url(products: FakeService, orders: FakeService) -> AsyncIterator[str]:
    settings = Settings.load({"PRODUCTS_URL": products.url, "ORDERS_URL": orders.url, "UPSTREAM_TOTAL_SECONDS": "0.1"})
    async with serve(create_app(settings)) as url:
        yield url


@pytest.fixture
async def hasty(hasty_url: str) -> AsyncIterator[Api]:
    async with connect(hasty_url) as api:
        yield api


async def late(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(LONGER_THAN_THE_LIMIT)
    return await respond_with(200, DONE)(request)


async def test_the_seconds_that_a_request_waits_are_added_to_the_limit(hasty: Api, orders: FakeService) -> None:
    orders.respond = late

    patient, impatient = await asyncio.gather(hasty.get("/orders/1?wait=1"), hasty.get("/orders/1?wait=0"))

    assert (patient.status, patient.raw) == (200, DONE)
    assert (impatient.status, impatient.code) == (504, "upstream_timeout")
    assert sorted(seen.target for seen in orders.seen) == ["/orders/1?wait=0", "/orders/1?wait=1"]


async def test_a_service_that_never_answers_is_cut_after_the_wait(hasty: Api, orders: FakeService) -> None:
    orders.respond = hang

    answer = await hasty.get("/orders/1?wait=1")

    assert (answer.status, answer.code) == (504, "upstream_timeout")


WRONG_WAITS: dict[str, Case] = {
    query: of_path(f"/orders/1?{query}", "wait")
    for query in ("wait=31", "wait=-1", "wait=1.5", "wait=x", "wait=", "wait=1&wait=1", "wait=" + "9" * 40)
}


async def test_a_wrong_wait_is_refused_before_the_service_sees_it(hasty: Api, orders: FakeService) -> None:
    assert await refusals(hasty, WRONG_WAITS) == expected(WRONG_WAITS)
    assert orders.seen == []


async def test_no_number_of_waiting_requests_keeps_others_from_being_answered(
    hasty_url: str, hasty: Api, orders: FakeService
) -> None:
    async def respond(request: web.Request) -> web.StreamResponse:
        return await (hang if "wait" in request.query else respond_with(200, DONE))(request)

    orders.respond = respond
    async with AsyncExitStack() as clients:
        crowd = [await clients.enter_async_context(connect(hasty_url)) for _ in range(2)]
        waiting = [asyncio.create_task(api.get("/orders/1?wait=20")) for api in crowd for _ in range(150)]
        await eventually(lambda: sum(request.done() for request in waiting) == len(waiting) - MOST_WAITING)
        answers = [await hasty.get("/orders/1") for _ in range(3)]
        refused = {(request.result().status, request.result().code) for request in waiting if request.done()}
        for request in waiting:
            request.cancel()

    assert [answer.raw for answer in answers] == [DONE] * 3
    assert refused == {(503, "unavailable")}
