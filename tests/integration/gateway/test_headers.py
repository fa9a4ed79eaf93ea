"""Which headers go through the gateway and which end there (docs/gateway.md); bad_input.py has those it refuses."""

import pytest

from tests.api import Api
from tests.integration.gateway.behaviour import DONE, ORDER, ok
from tests.integration.gateway.opening import opened
from tests.integration.upstream import FakeService, respond_with
from tests.traces import TRACE

# Hop-by-hop headers (RFC 9110 §7.6.1) and their predecessors, private ones, and those that only a proxy may set.
DROPPED = dict.fromkeys(
    (
        *("Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "TE", "Trailer", "X-Once", "X-Twice"),
        *("Cookie", "User-Agent", "Accept", "Accept-Encoding", "Authorization", "Referer", "X-Original-URL"),
        *("Forwarded", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Real-IP"),
    ),
    "1",
)
FORGED = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}
# A tracestate passes beside a valid traceparent only: test_trace_context.py.
PASSED = {"Idempotency-Key": "key", "tracestate": "a=1", "Content-Type": "application/json", "X-Request-ID": "mine"}
# What a service is sent besides, by docs/gateway.md, and what HTTP/1.1 itself needs.
ADDED = {"traceparent", "X-Request-Timeout-Ms", *FORGED, "Host", "Content-Length"}
OWN = {"Location": "/orders/1", "ETag": '"1"', "Link": "</orders>", "Allow": "GET", "Retry-After": "7"}
OWN["Idempotency-Replayed"] = "true"
FORBIDDEN = dict.fromkeys(
    (
        *("Server", "X-Powered-By", "Via", "X-Debug", "Set-Cookie", "Access-Control-Allow-Origin", "X-Once"),
        *("WWW-Authenticate", "Proxy-Authenticate", "Keep-Alive", "Trailer", "Upgrade"),
    ),
    "1",
)


async def test_a_service_is_sent_what_is_documented_and_nothing_else(gateway: Api, orders: FakeService) -> None:
    orders.respond = ok
    headers = DROPPED | FORGED | PASSED | TRACE
    headers |= {"Connection": "X-Once, keep-alive", "Host": "shop.example:4000"}
    answer = await gateway.post("/orders", ORDER, headers=headers)

    [seen] = orders.seen
    assert answer.headers["X-Request-ID"] == "mine"
    assert {name.lower() for name in seen.headers} == {name.lower() for name in (*PASSED, *ADDED)}
    made = {
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Host": "shop.example:4000",
        "X-Forwarded-Proto": "http",
        "Host": orders.url.removeprefix("http://"),
    }
    assert {name: seen.headers[name] for name in (*PASSED, *made)} == {**PASSED, **made}


@pytest.mark.parametrize("client", ["192.0.2.1", "2001:db8:1:2::3"])
async def test_a_trusted_proxy_names_the_client_to_the_service_too(orders: FakeService, client: str) -> None:
    async with opened(orders, TRUSTED_PROXIES="127.0.0.1") as gateway:
        await gateway.get("/orders/1", headers={"X-Forwarded-For": f"198.51.100.1, {client}"})

    [seen] = orders.seen
    assert seen.headers["X-Forwarded-For"] == client


async def test_a_condition_goes_to_the_service_whole(gateway: Api, products: FakeService) -> None:
    for lines in (['"1", "22"'], ['"1"', '"22"']):
        await gateway.request(
            "PATCH", "/products/7", json={"price": 1}, headers=[("If-Match", value) for value in lines]
        )
        assert products.seen[-1].headers.getall("If-Match") == lines  # type: ignore[attr-defined]  # a multidict


async def test_a_header_that_connection_names_does_not_pass(gateway: Api, orders: FakeService) -> None:
    """RFC 9110 §7.6.1, in both directions."""
    orders.respond = respond_with(200, DONE, {**OWN, "Connection": "keep-alive,link , ETag"})
    headers = [("Connection", "idempotency-key , keep-alive"), ("Connection", "TraceState")]
    headers += [*PASSED.items(), *TRACE.items()]
    answer = await gateway.post("/orders", ORDER, headers=headers)

    [seen] = orders.seen
    assert set(PASSED) & set(seen.headers) == {"Content-Type", "X-Request-ID"}
    assert set(OWN) & set(answer.headers) == set(OWN) - {"Link", "ETag"}


async def test_a_client_that_has_an_order_as_it_is_gets_no_second_copy(gateway: Api, orders: FakeService) -> None:
    orders.respond = respond_with(304, b"", {"ETag": 'W/"a1"'})
    answer = await gateway.get("/orders/1", headers={"If-None-Match": '"b2", W/"a1"'})

    [seen] = orders.seen
    assert seen.headers["If-None-Match"] == '"b2", W/"a1"'
    assert (answer.status, answer.raw, answer.headers["ETag"]) == (304, b"", 'W/"a1"')


@pytest.mark.parametrize("path", ["/orders/1", "/orders/1?wait=1", "/orders/1/events"])
async def test_a_client_is_sent_what_is_documented_and_no_more(gateway: Api, orders: FakeService, path: str) -> None:
    orders.respond = respond_with(200, DONE, {**OWN, **FORBIDDEN, "Connection": "X-Once"})
    answer = await gateway.get(path)
    orders.respond = respond_with(200, b"id: 1\n\n", {**FORBIDDEN, "Content-Type": "text/event-stream"})
    stream = await gateway.get("/orders/1/events")

    assert (answer.status, answer.raw, {name: answer.headers[name] for name in OWN}) == (200, DONE, OWN)
    assert answer.headers["Content-Type"] == "application/json"
    assert (stream.status, stream.headers["Content-Type"]) == (200, "text/event-stream")
    assert not set(FORBIDDEN) & {*answer.headers, *stream.headers}
