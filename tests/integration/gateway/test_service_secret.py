"""SERVICE_SECRET at the gateway: it is the gateway's own, and nobody gets to see it."""

import pytest
from structlog.testing import capture_logs

from tests.integration.gateway.behaviour import ORDER, ok
from tests.integration.gateway.opening import opened
from tests.integration.upstream import FakeService, envelope, fake_service, respond_with

SECRET, OLD, FORGED = "secret-of-the-services", "secret-of-yesterday", "secret-of-a-client"
UNAUTHORIZED = respond_with(401, envelope(401, None, error={"code": "unauthorized", "message": "no"}))


@pytest.mark.parametrize(("setting", "expected"), [("", []), (SECRET, [SECRET]), (f"{SECRET}, {OLD}", [SECRET])])
async def test_a_service_is_sent_the_first_secret_and_never_a_clients(
    orders: FakeService, setting: str, expected: list[str]
) -> None:
    orders.respond = ok
    forged = [("X-Service-Secret", FORGED), ("x-service-secret", SECRET)]
    async with opened(orders, SERVICE_SECRET=setting) as gateway:
        await gateway.post("/orders", ORDER, headers=forged)
        await gateway.get("/orders/1?wait=1", headers=forged)
        await gateway.get("/orders/1/events", headers=forged)

    assert len(orders.seen) == 3
    assert [seen.headers.getall("X-Service-Secret", []) for seen in orders.seen] == [expected] * 3  # type: ignore[attr-defined]  # a multidict


@pytest.mark.parametrize("path", ["/orders/1", "/orders/1?wait=1", "/orders/1/events"])
async def test_a_client_is_not_blamed_for_a_service_that_knows_another_secret(orders: FakeService, path: str) -> None:
    orders.respond = UNAUTHORIZED
    with capture_logs() as lines:
        async with opened(orders, SERVICE_SECRET=SECRET) as gateway:
            answer = await gateway.get(path)

    assert (answer.status, answer.code, answer.is_envelope) == (502, "upstream_error", True)
    [failed] = [line for line in lines if line["event"] == "request failed"]
    assert failed["error"] == "The service does not let the gateway in"


async def test_no_secret_is_ever_logged_or_shown(orders: FakeService, caplog: pytest.LogCaptureFixture) -> None:
    """Neither when a service answers what is not HTTP, breaks off, or cannot be reached."""
    answers = []
    with capture_logs() as lines, caplog.at_level("DEBUG"):
        async with fake_service() as gone:
            pass
        async with opened(orders, gone, SERVICE_SECRET=SECRET) as gateway:
            for status, headers in ((200, {"Content-Length": "x"}), (200, {"Transfer-Encoding": "x, chunked"})):
                orders.respond = respond_with(status, b"", headers)
                answers += [await gateway.get("/orders/1"), await gateway.post("/orders", ORDER)]
            answers += [await gateway.get(path) for path in ("/products/1", "/health/ready", "/metrics")]

    assert [answer.status for answer in answers] == [502, 504, 502, 504, 503, 200, 200]
    causes = [line["cause"] for line in lines if line["event"] == "request failed"]
    assert len(causes) == 5
    assert SECRET not in f"{lines} {caplog.text} {[(answer.headers, answer.raw) for answer in answers]}"
