import gzip

import pytest

from tests.api import Api
from tests.integration import bad_input
from tests.integration.upstream import FakeService


async def test_a_wrong_request_reaches_no_service(gateway: Api, products: FakeService, orders: FakeService) -> None:
    assert await bad_input.refusals(gateway, bad_input.ALL) == bad_input.expected(bad_input.ALL)
    assert products.seen == orders.seen == []


GZIP = {"Content-Type": "application/json", "Content-Encoding": "gzip"}


async def test_a_compressed_body_is_read_and_forwarded_plain(gateway: Api, orders: FakeService) -> None:
    order = b'{"productId": 7, "quantity": 1}'

    await gateway.request("POST", "/orders", data=gzip.compress(order), headers=GZIP)

    [seen] = orders.seen
    assert (seen.body, seen.headers.get("Content-Encoding")) == (order, None)


@pytest.mark.parametrize(
    ("body", "refused"),
    [(b"no gzip", (400, "invalid_json", [])), (gzip.compress(b" " * 10_000_000), (413, "payload_too_large", []))],
    ids=["no gzip", "grows too large"],
)
async def test_a_body_that_cannot_be_decompressed_is_refused(
    gateway: Api, orders: FakeService, body: bytes, refused: tuple[int, str, list[str]]
) -> None:
    answer = await gateway.request("POST", "/orders", data=body, headers=GZIP)

    assert answer.refusal == refused
    assert orders.seen == []


ALLOWED = {
    "DELETE /products": {"GET", "HEAD", "POST"},
    "PUT /products/7": {"GET", "HEAD", "PATCH"},
    "GET /products/7/stock": {"POST"},
    "POST /products/7/movements": {"GET", "HEAD"},
    "PUT /orders/7": {"GET", "HEAD", "PATCH"},
    "GET /orders/7/cancel": {"POST"},
    "GET /orders/7/confirm": {"POST"},
    "PUT /orders/7/hold": {"POST"},
    "DELETE /orders/7/history": {"GET", "HEAD"},
    "POST /orders/7/events": {"GET"},
    "HEAD /orders/7/events": {"GET"},
}


async def test_a_refusal_names_the_allowed_methods(gateway: Api, products: FakeService, orders: FakeService) -> None:
    answers = {line: await gateway.request(*line.split()) for line in ALLOWED}

    assert {line: (answer.status, set(answer.headers["Allow"].split(","))) for line, answer in answers.items()} == {
        line: (405, allowed) for line, allowed in ALLOWED.items()
    }
    assert products.seen == orders.seen == []
