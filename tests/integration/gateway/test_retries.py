"""What is sent a second time, counted by what the services see; test_pool.py has the rules."""

import asyncio

import pytest

from gateway.upstream.breaker import BreakerParameters
from tests.integration.gateway.behaviour import DONE, ORDER, Gate, bad_gateway, busy, crash, half, ok, turns
from tests.integration.gateway.opening import breaking, opened, sample
from tests.integration.upstream import FakeService, Respond, hang, reset
from tests.waiting import eventually

KEYED = {"Idempotency-Key": "key"}
ALL_RETRIES = [f'gateway_retries_total{{upstream="{name}"}}' for name in ("orders", "products")]
CHANGES: dict[str, object] = {
    "POST /orders": ORDER,
    "POST /orders/1/cancel": None,
    "POST /orders/1/confirm": None,
    "POST /orders/1/hold": {"holdSeconds": 900},
    "POST /products/1/stock": {"delta": 1, "reason": "found"},
    "PATCH /products/1": {"name": "Lamp"},
}


@pytest.mark.parametrize("broken", [reset, half, bad_gateway, busy], ids=["reset", "half", "502", "503"])
async def test_a_failed_request_is_sent_again_if_that_is_safe(
    products: FakeService, orders: FakeService, broken: Respond
) -> None:
    async with opened(orders, products) as gateway:
        before = await sample(gateway, ALL_RETRIES[0])
        safe = ["GET /orders/1", "HEAD /orders/1", "GET /orders/1?wait=9"]
        for line, headers in (*((line, {}) for line in safe), ("POST /orders", KEYED)):
            orders.seen.clear()
            orders.respond = turns(broken, ok)
            answer = await gateway.request(*line.split(), json=CHANGES.get(line), headers=headers)
            first, second = orders.seen
            assert (answer.status, answer.raw) == (200, b"" if line.startswith("HEAD") else DONE)
            assert (first.method, first.target, first.body) == (second.method, second.target, second.body)
            assert first.headers.get(*KEYED) == second.headers.get(*KEYED) == headers.get(*KEYED)
        assert await sample(gateway, ALL_RETRIES[0]) - before == 4

        orders.seen.clear()
        orders.respond = broken
        third = await gateway.get("/orders/1")
        assert (third.status in {502, 503}, len(orders.seen)) == (True, 2)

        orders.seen.clear()
        # What broke off may have been done; an answer of the service or of a proxy before it stands as it is.
        expected = {504} if broken in {reset, half} else {502, 503}
        for line, content in CHANGES.items():
            products.respond = orders.respond = turns(broken, ok)
            headers = KEYED if line.startswith("PATCH") else {}  # the release before does not look at it
            answer = await gateway.request(*line.split(), json=content, headers=headers)
            assert answer.status in expected
            assert (answer.code, "Retry-After" in answer.headers) == ("outcome_unknown", False) or 504 not in expected
        assert len([*products.seen, *orders.seen]) == len(CHANGES)

        orders.seen.clear()
        orders.respond = broken
        keyed = await gateway.post("/orders", ORDER, headers=KEYED)
        assert (keyed.status in expected, len(orders.seen)) == (True, 2)


@pytest.mark.parametrize("refused", ["503", "connection", "breaker"])
async def test_a_retry_that_is_refused_says_nothing_of_the_first_try(
    orders: FakeService, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    orders.respond = turns(reset, busy)
    urls = orders.url + (",http://127.0.0.1:1" if refused == "connection" else "")
    if refused == "breaker":
        breaking(monkeypatch, BreakerParameters(least_requests=1))
    async with opened(urls, orders) as gateway:
        order = await gateway.post("/orders", ORDER, headers=KEYED)

    assert (order.code, "Retry-After" in order.headers) == ("outcome_unknown", False)
    assert len(orders.seen) == (2 if refused == "503" else 1)


@pytest.mark.parametrize(
    ("failed", "codes"),
    [(hang, ["upstream_timeout", "outcome_unknown"]), (crash, ["internal_error"] * 2)],
    ids=["hang", "500"],
)
async def test_a_time_out_and_a_failure_inside_are_final(
    orders: FakeService, failed: Respond, codes: list[str]
) -> None:
    async with opened(orders, UPSTREAM_TOTAL_SECONDS="0.2" if failed is hang else "5") as gateway:
        for line, code in zip(("GET /orders/1", "POST /orders"), codes, strict=True):
            orders.seen.clear()
            orders.respond = turns(failed, ok)
            answer = await gateway.request(*line.split(), json=CHANGES.get(line), headers=KEYED)
            assert (answer.code, len(orders.seen)) == (code, 1)


async def test_retries_at_work_are_a_fifth_of_the_requests_in_flight(
    orders: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So they cannot double the load of a service that fails."""
    breaking(monkeypatch, BreakerParameters(least_requests=100))
    first, second = Gate(reset), Gate(ok)
    orders.respond = turns(*[ok] * 20, *[first.respond] * 20, second.respond)
    async with opened(orders) as gateway:
        for _ in range(20):
            await gateway.get("/orders/1")  # those that are done do not count
        requests = [asyncio.create_task(gateway.get("/orders/1")) for _ in range(20)]
        await eventually(lambda: first.waiting == 20)
        first.open()
        await eventually(lambda: second.waiting == 4 and sum(request.done() for request in requests) == 16)
        second.open()
        answers = await asyncio.gather(*requests)
        orders.respond = turns(reset, ok)
        afterwards = await gateway.get("/orders/1")

    assert len(orders.seen) == 20 + 20 + 4 + 2
    assert sorted(answer.status for answer in answers) == [200] * 4 + [502] * 16
    assert afterwards.status == 200
