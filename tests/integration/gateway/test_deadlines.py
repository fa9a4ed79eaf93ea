"""How long a request may take, what the service learns of it, and how long a request may wait for an order."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from aiohttp import web

from gateway.upstream import pool
from tests.api import Api, connect
from tests.integration.gateway.behaviour import DONE, ORDER, Gate, busy, ok, trickle, turns
from tests.integration.gateway.opening import PATIENT, listening, narrow, opened, sample
from tests.integration.gateway.streams import FIRST, Script
from tests.integration.upstream import FakeService, Respond, hang
from tests.waiting import eventually, reaches

HEADER = "X-Request-Timeout-Ms"
TIME_OUT = (504, "upstream_timeout")
RETRIES = 'gateway_retries_total{upstream="orders"}'
REFUSED = 'gateway_refused_total{reason="waiting"}'


def sent(fake: FakeService) -> list[int]:
    """The milliseconds that each request left to the service."""
    return [int(seen.headers[HEADER]) for seen in fake.seen]


async def hang_if_asked_to_wait(request: web.Request) -> web.StreamResponse:
    waits = request.path.endswith("/events") or "wait" in request.query
    return await (hang if waits else ok)(request)


@pytest.mark.parametrize("respond", [hang, trickle], ids=["hang", "trickle"])
@pytest.mark.parametrize(
    ("setting", "asked"),
    [({"REQUEST_SECONDS": "0.2"}, {}), ({"UPSTREAM_TOTAL_SECONDS": "0.2"}, {}), ({}, {HEADER: "200"})],
    ids=["request", "call", "client"],
)
async def test_a_service_that_takes_too_long_is_left(
    orders: FakeService, respond: Respond, setting: dict[str, str], asked: dict[str, str]
) -> None:
    """The time is the setting's, or less if the client asks for less; a service that sends bytes gets no more."""
    orders.respond = respond
    async with opened(orders, **setting) as gateway:
        answers = [await gateway.get("/orders/1", headers=asked), await gateway.post("/orders", ORDER, headers=asked)]

    assert [(answer.status, answer.code) for answer in answers] == [TIME_OUT, (504, "outcome_unknown")]
    assert len(orders.seen) == 2


async def test_the_service_learns_what_is_left_and_a_client_may_ask_for_less_not_more(orders: FakeService) -> None:
    """A retry has less, and a client that waits for an order more."""
    orders.respond = turns(*[ok] * 6, busy, ok)
    async with opened(orders, **PATIENT) as gateway:
        for path, asked in (
            ("/orders/1", {}),
            ("/orders/1", {HEADER: "soon"}),
            ("/orders/1", {HEADER: "40000"}),
            ("/orders/1", {HEADER: "20000"}),
            ("/orders/1?wait=20", {}),
        ):
            await gateway.get(path, headers=asked)
        await gateway.post("/orders", ORDER)
        await gateway.get("/orders/1")

    *once, first, second = sent(orders)
    for milliseconds, most in zip(once, (30_000, 30_000, 30_000, 20_000, 50_000, 30_000), strict=True):
        assert most - 10_000 < milliseconds < most
    assert first - second >= 25


async def test_a_request_without_time_reaches_no_service(gateway: Api, orders: FakeService) -> None:
    answers = [
        await gateway.get("/orders/1", headers={HEADER: "0"}),
        await gateway.post("/orders", ORDER, headers={HEADER: "0"}),
    ]

    assert ([(answer.status, answer.code) for answer in answers], orders.seen) == ([TIME_OUT] * 2, [])


async def test_a_retry_for_which_no_time_is_left_is_not_sent(
    gateway: Api, orders: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first answer stands, at once."""
    monkeypatch.setattr(pool, "retry_delay", lambda: 60.0)
    orders.respond = turns(busy, ok)
    before = await sample(gateway, RETRIES)
    answer = await gateway.get("/orders/1")

    assert (answer.status, len(orders.seen), await sample(gateway, RETRIES) - before) == (503, 1, 0)


async def test_the_queue_gives_a_request_no_more_time(orders: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow(monkeypatch, limit=1, queue=1, seconds=60.0)
    gate = Gate()
    orders.respond = gate.respond
    async with opened(orders, **PATIENT) as gateway:
        held = asyncio.create_task(gateway.get("/orders/1"))
        await eventually(lambda: gate.waiting)
        late = await gateway.get("/orders/2", headers={HEADER: "100"})
        gate.open()
        answer = await held

    assert (late.status, late.code, answer.status) == (503, "unavailable", 200)


async def test_the_seconds_that_a_client_waits_for_an_order_are_added_to_the_limit(orders: FakeService) -> None:
    gate = Gate()
    orders.respond = turns(gate.respond, hang)
    async with opened(orders, UPSTREAM_TOTAL_SECONDS="0.2") as gateway:
        waiting = asyncio.create_task(gateway.get("/orders/1?wait=20"))
        await eventually(lambda: gate.waiting)
        others = [await gateway.get("/orders/1?wait=0"), await gateway.get("/orders/1?wait=1")]
        gate.open()
        answer = await waiting

    assert [(other.status, other.code) for other in others] == [TIME_OUT] * 2
    assert (answer.status, answer.raw) == (200, DONE)


async def test_clients_that_wait_for_an_order_are_no_load_and_have_a_bound_of_their_own(
    orders: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pool._MOST_WAITING == 320
    monkeypatch.setattr(pool, "_MOST_WAITING", 5)
    narrow(monkeypatch, limit=1)
    orders.respond = hang_if_asked_to_wait
    paths = ("/orders/1/events", "/orders/1?wait=20")
    async with opened(orders, TRUSTED_PROXIES="127.0.0.1") as gateway:
        waiting = [asyncio.create_task(gateway.get(path)) for path in paths for _ in range(2)]
        await eventually(lambda: len(orders.seen) == 4)
        before = await sample(gateway, REFUSED)
        refused = [await gateway.get(path) for path in paths]
        counted = await sample(gateway, REFUSED) - before
        waiting.append(asyncio.create_task(gateway.get(paths[0], headers={"X-Forwarded-For": "192.0.2.1"})))
        await eventually(lambda: len(orders.seen) == 5)  # what is left is for other clients
        answers = [await gateway.get("/orders/1") for _ in range(3)]
        orders.respond = ok
        for client in waiting:
            client.cancel()
        await reaches(lambda: gateway.status(paths[0]), 200)
        await reaches(lambda: gateway.status(paths[1]), 200)

    assert [(answer.status, answer.code) for answer in refused] == [(503, "unavailable")] * 2
    assert ([answer.raw for answer in answers], counted) == ([DONE] * 3, 2)


async def test_clients_that_wait_are_answered_when_the_process_stops(orders: FakeService) -> None:
    """The order is asked for once more without waiting, and a stream ends with what it has sent, if it has begun."""
    scripts, stops = {"/orders/1/events": Script(), "/orders/2/events": Script()}, asyncio.Event()

    async def respond(request: web.Request) -> web.StreamResponse:
        if request.path not in scripts:
            if not request.query:
                stops.set()
            return await hang_if_asked_to_wait(request)
        if request.path == "/orders/2/events":
            await stops.wait()
        return await scripts[request.path].respond(request)

    orders.respond = respond
    async with AsyncExitStack() as process:
        port = await process.enter_async_context(listening(orders))
        async with connect(f"http://127.0.0.1:{port}") as client:
            waiting = [asyncio.create_task(client.get(path)) for path in ("/orders/1?wait=20", *scripts)]
            scripts["/orders/1/events"].write(FIRST)
            await eventually(lambda: len(orders.seen) == 3)
            await process.aclose()
            answers = await asyncio.gather(*waiting)

    assert [(answer.status, answer.raw) for answer in answers] == [(200, DONE), (200, FIRST), (200, b"")]
    assert [seen.target for seen in orders.seen[3:]] == ["/orders/1"]
