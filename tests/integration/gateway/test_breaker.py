"""A service that keeps failing is left alone, and gets its load back when it does not."""

import asyncio

import pytest

from gateway.upstream.breaker import BreakerParameters
from tests.api import Answer, Api
from tests.integration.gateway.behaviour import DONE, ORDER, Gate, bad_gateway, busy, crash, half, ok
from tests.integration.gateway.opening import breaking, listening, opened, sample
from tests.integration.shared.web.raw import connected
from tests.integration.upstream import FakeService, Respond, envelope, hang, reset, respond_with
from tests.waiting import eventually

LEAST = 20
# As by default, but for times that a test can wait for.
QUICK = BreakerParameters(first_open=0.3, probe_lost_after=1.0, ramp_seconds=0.2)
REFUSED = 'gateway_refused_total{reason="breaker"}'
TIME = "X-Request-Timeout-Ms"
too_late = respond_with(504, envelope(504, None, error={"code": "upstream_timeout", "message": "too late"}))
STATES = ("closed", "open", "half_open", "recovering")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    breaking(monkeypatch, QUICK)


async def place(gateway: Api, times: int = LEAST) -> list[Answer]:
    """Orders, none of which is sent twice."""
    return await asyncio.gather(*(gateway.post("/orders", ORDER) for _ in range(times)))


async def state(gateway: Api, upstream: str = "orders") -> list[str]:
    """By the metrics."""
    series = 'gateway_breaker_state{{address="0",state="{}",upstream="{}"}}'
    return [name for name in STATES if await sample(gateway, series.format(name, upstream)) == 1]


@pytest.mark.parametrize("broken", [reset, half, bad_gateway, hang], ids=["reset", "half", "502", "hang"])
async def test_a_service_that_keeps_failing_is_left_alone(
    products: FakeService, orders: FakeService, broken: Respond
) -> None:
    orders.respond, products.respond = broken, ok
    async with opened(products, orders, UPSTREAM_TOTAL_SECONDS="0.2") as gateway:
        before = await state(gateway)
        failures = await place(gateway)
        uncounted = await sample(gateway, REFUSED)
        refused = [await gateway.get("/orders/1"), await gateway.post("/orders", ORDER)]
        counted = await sample(gateway, REFUSED) - uncounted
        after = await state(gateway)
        other = await gateway.get("/products/1")

    assert (before, after, counted) == (["closed"], ["open"], 2)
    assert {answer.status for answer in failures} <= {502, 504}
    assert [(answer.status, answer.code, answer.headers["Retry-After"]) for answer in refused] == [
        (503, "unavailable", "1")
    ] * 2
    assert len(orders.seen) == LEAST
    assert (other.status, other.raw) == (200, DONE)


async def test_a_service_whose_requests_run_out_of_time_is_left_alone(
    products: FakeService, orders: FakeService
) -> None:
    """Their time is shorter than any limit of a call."""
    orders.respond = hang
    async with opened(products, orders, REQUEST_SECONDS="0.2") as gateway:
        await place(gateway)
        assert await state(gateway) == ["open"]


@pytest.mark.parametrize(
    ("respond", "milliseconds"),
    [(ok, "0"), (hang, "50"), (too_late, "999")],
    ids=["never sent", "cut here", "cut by the service"],
)
async def test_clients_in_a_hurry_say_nothing_of_the_service(
    products: FakeService, orders: FakeService, respond: Respond, milliseconds: str
) -> None:
    """Or one of them could have it left alone by everybody."""
    orders.respond = respond
    async with opened(products, orders) as gateway:
        answers = [
            asyncio.create_task(gateway.post("/orders", ORDER, headers={TIME: milliseconds})) for _ in range(2 * LEAST)
        ]
        hurried = {(answer.status, answer.code) for answer in await asyncio.gather(*answers)}
        assert await state(gateway) == ["closed"]

    assert hurried == {(504, "upstream_timeout")}


@pytest.mark.parametrize(
    ("respond", "milliseconds", "seconds"),
    [(hang, "500", "0.2"), (too_late, "1000", "5")],
    ids=["more than it may", "a second"],
)
async def test_those_that_leave_it_time_do(
    products: FakeService, orders: FakeService, respond: Respond, milliseconds: str, seconds: str
) -> None:
    orders.respond = respond
    async with opened(products, orders, REQUEST_SECONDS=seconds) as gateway:
        await asyncio.gather(*(gateway.post("/orders", ORDER, headers={TIME: milliseconds}) for _ in range(LEAST)))
        assert await state(gateway) == ["open"]


async def test_one_failure_less_leaves_it_as_it_is(products: FakeService, orders: FakeService) -> None:
    orders.respond = reset
    async with opened(products, orders) as gateway:
        await place(gateway, LEAST - 1)
        assert await state(gateway) == ["closed"]


@pytest.mark.parametrize("failure", [crash, busy], ids=["500", "503"])
async def test_an_answer_of_the_service_is_no_failure_of_its_address(
    products: FakeService, orders: FakeService, failure: Respond
) -> None:
    orders.respond = failure
    async with opened(products, orders) as gateway:
        await place(gateway, 2 * LEAST)
        assert await state(gateway) == ["closed"]

    assert len(orders.seen) == 2 * LEAST


async def test_clients_that_leave_say_nothing_of_the_service(products: FakeService, orders: FakeService) -> None:
    gate = Gate()
    orders.respond = gate.respond
    async with listening(products, orders) as port:
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


async def test_it_is_probed_and_gets_its_load_back(products: FakeService, orders: FakeService) -> None:
    orders.respond = reset
    gate = Gate()
    async with opened(products, orders) as gateway:
        await place(gateway)
        orders.seen.clear()
        orders.respond = gate.respond

        probes: list[asyncio.Task[Answer]] = []

        async def has_all_probes() -> bool:
            probes.append(asyncio.create_task(gateway.post("/orders", ORDER)))
            await asyncio.wait([probes[-1]], timeout=0.01)
            return gate.waiting == QUICK.probes

        await eventually(has_all_probes)
        half_open = await state(gateway)
        [refused] = await place(gateway, 1)
        gate.open()
        answers = await asyncio.gather(*probes)
        recovering = await state(gateway)

        async def takes_everything() -> bool:
            return {answer.status for answer in await place(gateway)} == {200} and await state(gateway) == ["closed"]

        await eventually(takes_everything)

    assert (half_open, recovering) == (["half_open"], ["recovering"])
    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    assert sum(answer.status == 200 for answer in answers) == gate.most == QUICK.probes
    assert {answer.status for answer in answers} == {200, 503}


async def test_a_probe_that_fails_opens_it_again(products: FakeService, orders: FakeService) -> None:
    orders.respond = reset
    async with opened(products, orders) as gateway:
        await place(gateway)

        async def is_probed() -> bool:
            await gateway.post("/orders", ORDER)
            return len(orders.seen) > LEAST

        await eventually(is_probed)
        after = await state(gateway)
        [refused] = await place(gateway, 1)

    assert after == ["open"]
    assert refused.status == 503
    assert len(orders.seen) == LEAST + 1
