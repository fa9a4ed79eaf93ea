import asyncio
import json
from collections import defaultdict

import pytest

from gateway.routes import ROUTES
from shared.pagination import encode_cursor
from tests.api import Api
from tests.integration.gateway.behaviour import DONE, ORDER, ok
from tests.integration.gateway.opening import opened
from tests.integration.shared.web.raw import connected
from tests.integration.upstream import FakeService, Respond, envelope, hang, reset, respond_with
from tests.waiting import eventually
from tools.stack import ports

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
UPSTREAM_ERROR = (502, "upstream_error")


def refusal(status: int, code: str) -> bytes:
    return envelope(status, None, error={"code": code, "message": "by the service"})


async def test_each_route_goes_to_its_service_as_it_came(
    gateway: Api, products: FakeService, orders: FakeService
) -> None:
    lines = {
        f"GET /products?limit=2&cursor={encode_cursor(7)}": None,
        "GET /products/7": None,
        "POST /products": {"name": "Lämp", "price": "1.50", "qty": 1},
        "PATCH /products/7": {"price": "1.50"},
        "POST /products/7/stock": {"delta": -1, "reason": "broken"},
        f"GET /products/7/movements?limit=2&cursor={encode_cursor(7)}": None,
        "GET /orders?status=done&productId=7": None,
        "GET /orders/7": None,
        "GET /orders/7?wait=1": None,
        "GET /orders/7/history": None,
        "GET /orders/7/events": None,
        "POST /orders/7/cancel": None,
        "GET /orders/product/7?limit=1": None,
        "POST /orders": ORDER,
    }
    products.respond = orders.respond = ok
    sent = defaultdict(list)
    for line, body in lines.items():
        method, target = line.split()
        content = b"" if body is None else json.dumps(body).encode()
        await gateway.request(method, target, data=content or None, headers={"Content-Type": "application/json"})
        sent[target.split("/")[1].partition("?")[0]].append((method, target, content))
    await gateway.post("/orders/7/cancel", ORDER)  # a body that the route does not have stays here
    sent["orders"].append(("POST", "/orders/7/cancel", b""))

    for name, service in (("products", products), ("orders", orders)):
        assert [(seen.method, seen.target, seen.body) for seen in service.seen] == sent[name]
    assert len(lines) == len(ROUTES) + 1


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        *((status, envelope(status, {"id": 7}), (status, None)) for status in (200, 201)),
        *(
            (status, refusal(status, code), (status, code))
            for status, code in (
                *((404, "not_found"), (412, "precondition_failed"), (500, "internal_error")),
                (503, "unavailable"),
            )
        ),
        (404, b'{"detail": "secret"}', (404, "not_found")),
        (418, b'{"detail": "secret"}', (502, "upstream_error")),
        (429, b'{"detail": "secret"}', (429, "rate_limited")),
        (500, b'{"detail": "secret"}', UPSTREAM_ERROR),
        (503, b'{"detail": "secret"}', UPSTREAM_ERROR),
        (200, b"<html>secret</html>", UPSTREAM_ERROR),
        (200, b"", UPSTREAM_ERROR),
        (200, b'{"id": 7}', (200, None)),
        (200, envelope(201, {}).replace(b"201", b"500"), (200, None)),
    ],
)
async def test_an_envelope_passes_byte_for_byte_and_any_other_answer_gets_one(
    gateway: Api, products: FakeService, status: int, body: bytes, expected: tuple[int, str | None]
) -> None:
    products.respond = respond_with(status, body)
    answer = await gateway.post("/products", {"name": "Lamp", "price": 1, "qty": 1})

    assert (answer.status, answer.code) == expected
    assert answer.body["statusCode"] == answer.status
    assert b"secret" not in answer.raw
    if b"traceId" in body and json.loads(body)["statusCode"] == status:
        assert answer.raw == body
        return
    shown = answer.body
    assert len(shown.pop("traceId")) == 32
    assert shown.pop("timestamp")
    assert (shown["path"], shown["data"]) == ("/products", json.loads(body) if expected[0] == 200 else None)


async def test_a_head_request_is_answered_without_a_body(gateway: Api, products: FakeService) -> None:
    products.respond = ok
    answer = await gateway.request("HEAD", "/products/7")

    assert (answer.status, answer.raw, products.seen[0].method) == (200, b"", "HEAD")


async def test_a_valid_trace_goes_on_with_a_new_span_and_an_invalid_one_is_replaced(
    gateway: Api, orders: FakeService
) -> None:
    valid = {"traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01", "X-Request-ID": "my-request"}
    answers = [
        await gateway.post("/orders", ORDER, headers=headers)
        for headers in (valid, {"traceparent": "00-nonsense", "X-Request-ID": "two words"})
    ]

    first, second = (seen.headers for seen in orders.seen)
    version, trace_id, span_id, flags = first["traceparent"].split("-")
    assert (version, trace_id, span_id != "b7ad6b7169203331", flags) == ("00", TRACE_ID, True, "01")
    assert first["X-Request-ID"] == answers[0].headers["X-Request-ID"] == "my-request"
    assert (len(second["traceparent"]), TRACE_ID in second["traceparent"]) == (55, False)
    assert second["X-Request-ID"] == answers[1].headers["X-Request-ID"] != "two words"


@pytest.mark.parametrize("respond", [hang, reset], ids=["hang", "reset"])
async def test_a_service_that_does_not_answer_is_an_error_of_its_own_kind(
    orders: FakeService, respond: Respond
) -> None:
    orders.respond = respond
    async with opened(orders, UPSTREAM_TOTAL_SECONDS="0.2" if respond is hang else "5") as gateway:
        answer = await gateway.post("/orders", ORDER)

    assert (answer.status, answer.code) == ((504, "upstream_timeout") if respond is hang else UPSTREAM_ERROR)
    assert len(orders.seen) == 1  # an order without a key is never sent twice


@pytest.mark.parametrize(
    "answer",
    [b"no HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", b""],
    ids=["foreign", "short", "none"],
)
async def test_an_answer_that_is_no_http_or_breaks_off_is_a_bad_gateway(answer: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, opened(url) as gateway:
        refused = await gateway.get("/orders/1")

    assert (refused.status, refused.code) == UPSTREAM_ERROR


async def test_a_service_that_refuses_connections_is_unavailable() -> None:
    url = f"http://127.0.0.1:{ports.choose()}"
    async with opened(url) as gateway:
        answers = [await gateway.get("/orders/1"), await gateway.post("/orders", ORDER)]

    assert [(answer.refusal, answer.headers["Retry-After"]) for answer in answers] == [
        ((503, "unavailable", []), "1")
    ] * 2


async def test_one_service_that_hangs_does_not_hold_up_the_other(
    gateway: Api, products: FakeService, orders: FakeService
) -> None:
    products.respond, orders.respond = hang, ok
    hanging = asyncio.gather(*(gateway.get("/products/7") for _ in range(10)), return_exceptions=True)
    await eventually(lambda: len(products.seen) == 10)
    answer = await gateway.get("/orders/1")
    hanging.cancel()

    assert (answer.status, answer.raw) == (200, DONE)


async def test_a_request_target_in_absolute_form_is_served_like_any_other(port: int, orders: FakeService) -> None:
    """RFC 9112 §3.2.2: a server must accept it."""
    orders.respond = ok
    async with connected(port) as peer:
        peer.send(b"GET http://elsewhere.example/orders?limit=1 HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n")
        reply = await peer.reply()

    assert reply.status == 200
    assert [seen.target for seen in orders.seen] == ["/orders?limit=1"]
