import gzip

import pytest

from tests.api import Api
from tests.integration import bad_input
from tests.integration.upstream import FakeService


async def test_a_wrong_request_is_refused_before_any_service_sees_it(
    gateway: Api, products: FakeService, orders: FakeService
) -> None:
    cases = {**bad_input.PRODUCTS, **bad_input.ORDERS}

    assert await bad_input.refusals(gateway, cases) == bad_input.expected(cases)
    assert products.seen == orders.seen == []


GZIP = {"Content-Type": "application/json", "Content-Encoding": "gzip"}


async def test_a_compressed_body_is_read_and_forwarded_plain(gateway: Api, orders: FakeService) -> None:
    order = b'{"productId": 7, "quantity": 1}'

    await gateway.request("POST", "/orders", data=gzip.compress(order), headers=GZIP)

    [seen] = orders.seen
    assert (seen.body, seen.headers.get("Content-Encoding")) == (order, None)


async def test_a_body_that_cannot_be_decompressed_is_refused(gateway: Api, orders: FakeService) -> None:
    answer = await gateway.request("POST", "/orders", data=b"no gzip", headers=GZIP)

    assert (answer.status, answer.code) == (400, "invalid_json")
    assert orders.seen == []


async def test_a_body_that_grows_too_large_when_decompressed_is_refused(gateway: Api, orders: FakeService) -> None:
    answer = await gateway.request("POST", "/orders", data=gzip.compress(b" " * 10_000_000), headers=GZIP)

    assert (answer.status, answer.code) == (413, "payload_too_large")
    assert orders.seen == []


ALLOWED = {
    "DELETE /products": {"GET", "HEAD", "POST"},
    "PUT /products/7": {"GET", "HEAD", "PATCH"},
    "GET /products/7/stock": {"POST"},
    "POST /products/7/movements": {"GET", "HEAD"},
    "PATCH /orders/7": {"GET", "HEAD"},
    "GET /orders/7/cancel": {"POST"},
    "DELETE /orders/7/history": {"GET", "HEAD"},
    "POST /orders/7/events": {"GET"},
    "HEAD /orders/7/events": {"GET"},
}


@pytest.mark.parametrize("line", ALLOWED)
async def test_a_refused_method_names_those_that_are_allowed(
    gateway: Api, products: FakeService, orders: FakeService, line: str
) -> None:
    answer = await gateway.request(*line.split())

    assert (answer.status, set(answer.headers["Allow"].split(","))) == (405, ALLOWED[line])
    assert products.seen == orders.seen == []
