import asyncio
import json

import pytest

from gateway.app import create_app
from gateway.settings import Settings
from shared.pagination import encode_cursor
from tests.api import Api, connect, serve
from tests.integration.upstream import FakeService, Respond, envelope, hang, reset, respond_with
from tools.stack import ports

ORDER = {"productId": 7, "quantity": 1}
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
NOT_FOUND = envelope(404, None, error={"code": "not_found", "message": "There is no product 7"})


@pytest.mark.parametrize(
    ("line", "body"),
    [
        (f"GET /products?limit=2&cursor={encode_cursor(7)}", None),
        ("GET /products/7", None),
        ("POST /products", {"name": "Lämp", "price": "1.50", "qty": 1}),
        ("PATCH /products/7", {"price": "1.50"}),
        ("POST /products/7/stock", {"delta": -1, "reason": "broken"}),
        (f"GET /products/7/movements?limit=2&cursor={encode_cursor(7)}", None),
        ("GET /orders?status=done&productId=7", None),
        ("GET /orders/7", None),
        ("GET /orders/7?wait=1", None),
        ("GET /orders/7/history", None),
        ("GET /orders/7/events", None),
        ("POST /orders/7/cancel", None),
        ("GET /orders/product/7?limit=1", None),
        ("POST /orders", ORDER),
    ],
)
async def test_each_route_goes_to_its_service_as_it_came(
    gateway: Api, products: FakeService, orders: FakeService, line: str, body: object
) -> None:
    method, target = line.split()
    service, other = (products, orders) if target.startswith("/products") else (orders, products)
    service.respond = respond_with(200, envelope(200, []))
    content = b"" if body is None else json.dumps(body).encode()

    await gateway.request(method, target, data=content or None, headers={"Content-Type": "application/json"})

    [seen] = service.seen
    assert (seen.method, seen.target, seen.body) == (method, target, content)
    assert other.seen == []


@pytest.mark.parametrize(("status", "body"), [(200, envelope(200, {"id": 7})), (404, NOT_FOUND)])
async def test_a_services_envelope_passes_byte_for_byte(
    gateway: Api, products: FakeService, status: int, body: bytes
) -> None:
    products.respond = respond_with(status, body)

    answer = await gateway.get("/products/7")

    assert (answer.status, answer.raw) == (status, body)


async def test_an_answers_own_headers_pass_and_hop_by_hop_headers_do_not(gateway: Api, orders: FakeService) -> None:
    hop_by_hop = {"Connection": "X-Once", "X-Once": "1", "Proxy-Authenticate": "Basic", "X-Powered-By": "nothing"}
    own = {
        "Location": "/orders/1",
        "Idempotency-Replayed": "true",
        "ETag": '"1"',
        "Link": '</orders?cursor=x>; rel="next"',
        "Retry-After": "7",
    }
    orders.respond = respond_with(201, envelope(201, {"id": 1}), {**own, **hop_by_hop})

    answer = await gateway.post("/orders", ORDER)

    assert {name: answer.headers[name] for name in own} == own
    assert answer.headers["Content-Type"].startswith("application/json")
    assert not set(hop_by_hop) & set(answer.headers)


async def test_a_requests_hop_by_hop_and_private_headers_do_not_pass(gateway: Api, orders: FakeService) -> None:
    sent = {"Connection": "X-Once", "X-Once": "1", "TE": "trailers", "Proxy-Authorization": "x", "Cookie": "a=b"}

    await gateway.post("/orders", ORDER, headers={**sent, "Idempotency-Key": "key"})

    [seen] = orders.seen
    assert seen.headers["Idempotency-Key"] == "key"
    assert not {"X-Once", "TE", "Proxy-Authorization", "Cookie", "User-Agent"} & set(seen.headers)


async def test_a_change_is_forwarded_with_its_condition(gateway: Api, products: FakeService) -> None:
    refusal = envelope(412, None, error={"code": "precondition_failed", "message": "The product was changed"})
    products.respond = respond_with(412, refusal)
    versions = '"1", "22"'

    answer = await gateway.request("PATCH", "/products/7", json={"price": 1}, headers={"If-Match": versions})

    [seen] = products.seen
    assert (seen.method, seen.headers["If-Match"], seen.body) == ("PATCH", versions, b'{"price": 1}')
    assert (answer.status, answer.raw) == (412, refusal)


async def test_a_body_that_the_route_does_not_have_is_not_forwarded(gateway: Api, orders: FakeService) -> None:
    orders.respond = respond_with(200, envelope(200, {}))

    answer = await gateway.post("/orders/7/cancel", ORDER)

    [seen] = orders.seen
    assert (answer.status, seen.method, seen.body) == (200, "POST", b"")


async def test_a_valid_trace_goes_on_with_a_new_span(gateway: Api, orders: FakeService) -> None:
    orders.respond = respond_with(201, envelope(201, {}))
    headers = {"traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01", "X-Request-ID": "my-request"}

    answer = await gateway.post("/orders", ORDER, headers=headers)

    version, trace_id, span_id, flags = orders.seen[0].headers["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", TRACE_ID, "01")
    assert span_id != "b7ad6b7169203331"
    assert orders.seen[0].headers["X-Request-ID"] == answer.headers["X-Request-ID"] == "my-request"


async def test_an_invalid_trace_and_request_id_are_replaced(gateway: Api, orders: FakeService) -> None:
    headers = {"traceparent": "00-nonsense", "X-Request-ID": "two words"}

    answer = await gateway.post("/orders", ORDER, headers=headers)

    assert len(orders.seen[0].headers["traceparent"]) == 55
    assert orders.seen[0].headers["X-Request-ID"] == answer.headers["X-Request-ID"] != "two words"


async def test_foreign_json_is_wrapped(gateway: Api, products: FakeService) -> None:
    products.respond = respond_with(200, b'{"id": 7}')

    answer = await gateway.get("/products/7")

    body = answer.body
    assert len(body.pop("traceId")) == 32
    assert body.pop("timestamp")
    assert body == {"statusCode": 200, "data": {"id": 7}, "path": "/products/7"}


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (404, b'{"detail": "foreign"}', (404, "not_found")),
        (429, b'{"detail": "foreign"}', (429, "rate_limited")),
        (500, b'{"detail": "secret"}', (502, "upstream_error")),
        (503, b'{"detail": "secret"}', (502, "upstream_error")),
        (200, b"<html>secret</html>", (502, "upstream_error")),
        (200, b"", (502, "upstream_error")),
        (200, envelope(201, {}).replace(b"201", b"500"), (200, None)),
        (500, envelope(500, None, error={"code": "internal_error", "message": "hidden"}), (500, "internal_error")),
    ],
)
async def test_a_foreign_or_broken_answer_gets_the_envelope_and_shows_nothing_internal(
    gateway: Api, products: FakeService, status: int, body: bytes, code: tuple[int, str | None]
) -> None:
    products.respond = respond_with(status, body)

    answer = await gateway.get("/products/7")

    assert (answer.status, answer.code) == code
    assert answer.body["statusCode"] == answer.status
    assert b"secret" not in answer.raw


@pytest.mark.parametrize(
    ("respond", "outcome"),
    [(hang, (504, "upstream_timeout")), (reset, (502, "upstream_error"))],
    ids=["hang", "reset"],
)
async def test_a_service_that_does_not_answer_is_an_error_of_its_own_kind(
    gateway: Api, orders: FakeService, respond: Respond, outcome: tuple[int, str]
) -> None:
    orders.respond = respond

    answer = await gateway.post("/orders", ORDER)

    assert (answer.status, answer.code) == outcome
    assert len(orders.seen) == 1  # an order is never sent twice


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
    settings = Settings.load({"PRODUCTS_URL": url, "ORDERS_URL": url})
    async with server, serve(create_app(settings)) as gateway_url, connect(gateway_url) as gateway:
        refused = await gateway.get("/orders/1")

    assert (refused.status, refused.code) == (502, "upstream_error")


async def test_a_service_that_refuses_connections_is_unavailable() -> None:
    url = f"http://127.0.0.1:{ports.choose()}"
    settings = Settings.load({"PRODUCTS_URL": url, "ORDERS_URL": url})

    async with serve(create_app(settings)) as gateway_url, connect(gateway_url) as gateway:
        answers = [await gateway.get("/orders/1"), await gateway.post("/orders", ORDER)]

    assert [(answer.status, answer.code, answer.headers["Retry-After"]) for answer in answers] == [
        (503, "unavailable", "1")
    ] * 2


async def test_one_service_that_hangs_does_not_hold_up_the_other(
    gateway: Api, products: FakeService, orders: FakeService
) -> None:
    products.respond = hang
    orders.respond = respond_with(200, envelope(200, {}))

    hanging = asyncio.gather(*(gateway.get("/products/7") for _ in range(50)))
    answer = await gateway.get("/orders/1")

    assert answer.status == 200
    assert not hanging.done()
    assert {each.status for each in await hanging} == {504}


async def test_a_head_request_is_answered_without_a_body(gateway: Api, products: FakeService) -> None:
    products.respond = respond_with(200, envelope(200, {}))

    answer = await gateway.request("HEAD", "/products/7")

    assert (answer.status, answer.raw) == (200, b"")


async def test_a_request_target_in_absolute_form_is_served_like_any_other(
    gateway_url: str, orders: FakeService
) -> None:
    """RFC 9112 §3.2.2: a server must accept it."""
    orders.respond = respond_with(200, envelope(200, []))
    host, port = gateway_url.removeprefix("http://").split(":")

    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"GET http://elsewhere.example/orders?limit=1 HTTP/1.1\r\nHost: elsewhere.example\r\nConnection: close\r\n\r\n"
    )
    status = await reader.readline()
    writer.close()
    await writer.wait_closed()

    assert status == b"HTTP/1.1 200 OK\r\n"
    assert [seen.target for seen in orders.seen] == ["/orders?limit=1"]


async def test_a_condition_of_several_lines_is_forwarded_whole(gateway: Api, products: FakeService) -> None:
    lines = [("If-Match", '"1"'), ("If-Match", '"22"')]

    await gateway.request("PATCH", "/products/7", json={"price": 1}, headers=lines)

    [seen] = products.seen
    assert [value for name, value in seen.headers.items() if name == "If-Match"] == ['"1"', '"22"']
