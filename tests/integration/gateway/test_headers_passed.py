"""Which headers go through the gateway, and which end there: docs/gateway.md."""

import pytest

from tests.integration.gateway.behaviour import DONE, ORDER, ok
from tests.integration.gateway.opening import opened
from tests.integration.upstream import FakeService, respond_with

# RFC 9110 §7.6.1 and its predecessors.
HOP_BY_HOP = {"Keep-Alive": "timeout=1", "Proxy-Connection": "close", "TE": "trailers", "Trailer": "X-Sum"}
PRIVATE = {"Cookie": "session=1", "User-Agent": "curl", "Accept": "*/*", "Accept-Encoding": "br", "Referer": "/secret"}
FORGED = {
    "Forwarded": "for=192.0.2.1;host=evil.example;proto=https",
    "X-Forwarded-For": "192.0.2.1",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Port": "443",
    "X-Forwarded-Prefix": "/admin",
    "X-Real-IP": "192.0.2.1",
    "X-Original-URL": "/admin",
}
# What a service is sent, by docs/gateway.md, and what HTTP/1.1 itself needs.
SENT = {
    *("Content-Type", "Idempotency-Key", "tracestate", "traceparent", "X-Request-ID", "X-Request-Timeout-Ms"),
    *("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Host", "Content-Length"),
}
OWN = {"Location": "/orders/1", "ETag": '"1"', "Link": "</orders>", "Idempotency-Replayed": "true", "Retry-After": "7"}
FORBIDDEN = {
    "Server": "service",
    "X-Powered-By": "something",
    "Via": "1.1 proxy",
    "X-Debug": "1",
    "Set-Cookie": "session=1",
    "Proxy-Authenticate": "Basic",
    "Keep-Alive": "timeout=1",
    "Trailer": "X-Sum",
    "Upgrade": "h2c",
    "X-Once": "1",
    "Access-Control-Allow-Origin": "*",
    "WWW-Authenticate": "Basic",
}


async def test_a_service_is_sent_what_is_documented_and_nothing_else(
    products: FakeService, orders: FakeService
) -> None:
    orders.respond = ok
    known = {"Idempotency-Key": "key", "tracestate": "a=1"}
    once = {"Connection": "X-Once, keep-alive", "X-Once": "1", "X-Twice": "2"}
    async with opened(products, orders) as gateway:
        sent = HOP_BY_HOP | PRIVATE | FORGED | known | once
        await gateway.post("/orders", ORDER, headers=sent)

    [seen] = orders.seen
    assert {name.lower() for name in seen.headers} == {name.lower() for name in SENT}
    assert {name: seen.headers[name] for name in known} == known
    assert seen.headers["Content-Type"] == "application/json"


async def test_a_header_that_else_passes_does_not_where_connection_names_it(
    products: FakeService, orders: FakeService
) -> None:
    """RFC 9110 §7.6.1, in both directions."""
    orders.respond = respond_with(200, DONE, {**OWN, "Connection": "keep-alive,link , ETag"})
    headers = [("Connection", "idempotency-key , keep-alive"), ("Connection", "TraceState")]
    named = [("Idempotency-Key", "key"), ("tracestate", "a=1")]
    async with opened(products, orders) as gateway:
        answer = await gateway.post("/orders", ORDER, headers=[*headers, *named])

    [seen] = orders.seen
    assert not {name for name, _ in named} & set(seen.headers)
    assert set(OWN) & set(answer.headers) == set(OWN) - {"Link", "ETag"}


async def test_where_a_request_comes_from_is_what_the_gateway_saw(products: FakeService, orders: FakeService) -> None:
    orders.respond = ok
    async with opened(products, orders) as gateway:
        await gateway.get("/orders/1", headers={**FORGED, "Host": "shop.example:4000"})

    [seen] = orders.seen
    assert {name: value for name, value in seen.headers.items() if name.startswith("X-Forwarded")} == {
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Host": "shop.example:4000",
        "X-Forwarded-Proto": "http",
    }
    assert seen.headers["Host"] == orders.url.removeprefix("http://")


@pytest.mark.parametrize("client", ["192.0.2.1", "2001:db8:1:2::3"])
async def test_or_what_a_trusted_proxy_saw(products: FakeService, orders: FakeService, client: str) -> None:
    orders.respond = ok
    async with opened(products, orders, TRUSTED_PROXIES="127.0.0.1") as gateway:
        await gateway.get("/orders/1", headers={"X-Forwarded-For": f"198.51.100.1, {client}"})

    [seen] = orders.seen
    assert seen.headers["X-Forwarded-For"] == client


@pytest.mark.parametrize("path", ["/orders/1", "/orders/1/history"])
async def test_a_client_is_sent_what_is_documented_and_nothing_else(
    products: FakeService, orders: FakeService, path: str
) -> None:
    orders.respond = respond_with(200, DONE, {**OWN, **FORBIDDEN, "Connection": "X-Once"})
    async with opened(products, orders) as gateway:
        answer = await gateway.get(path)

    assert (answer.status, answer.raw) == (200, DONE)
    assert {name: answer.headers[name] for name in OWN} == OWN
    assert not set(FORBIDDEN) & set(answer.headers)


async def test_nor_is_a_client_of_a_stream(products: FakeService, orders: FakeService) -> None:
    orders.respond = respond_with(200, b"id: 1\n\n", {**FORBIDDEN, "Content-Type": "text/event-stream"})
    async with opened(products, orders) as gateway:
        answer = await gateway.get("/orders/1/events")

    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")
    assert not set(FORBIDDEN) & set(answer.headers)


async def test_an_answer_that_is_no_stream_is_passed_on_in_the_place_of_one(
    products: FakeService, orders: FakeService
) -> None:
    orders.respond = respond_with(200, DONE, {**OWN, **FORBIDDEN})
    async with opened(products, orders) as gateway:
        answer = await gateway.get("/orders/1/events")

    assert answer.raw == DONE
    assert not set(FORBIDDEN) & set(answer.headers)
