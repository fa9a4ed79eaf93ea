import json
from collections import defaultdict

from gateway.routes import ROUTES
from shared.pagination import encode_cursor
from tests.api import Api
from tests.integration.gateway.behaviour import ORDER, ok
from tests.integration.gateway.opening import opened
from tests.integration.shared.web.raw import connected
from tests.integration.upstream import FakeService, envelope, respond_with
from tools.stack import ports

UPSTREAM_ERROR = (502, "upstream_error")


def refusal(status: int, code: str) -> bytes:
    return envelope(status, None, error={"code": code, "message": "by the service"})


async def test_each_request_is_forwarded_as_it_came(gateway: Api, products: FakeService, orders: FakeService) -> None:
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
        "PATCH /orders/7": {"metadata": {"channel": "app"}},
        "POST /orders/7/cancel": None,
        "POST /orders/7/confirm": None,
        "POST /orders/7/hold": {"holdSeconds": 900},
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
    for action in ("cancel", "confirm"):
        await gateway.post(f"/orders/7/{action}", ORDER)  # a body that the route does not have stays here
        sent["orders"].append(("POST", f"/orders/7/{action}", b""))
    several = b'{"lines": [{"productId": 7, "quantity": 1}, {"productId": 8, "quantity": 2}], "holdSeconds": 900}'
    await gateway.request("POST", "/orders", data=several, headers={"Content-Type": "application/json"})
    sent["orders"].append(("POST", "/orders", several))

    for name, service in (("products", products), ("orders", orders)):
        assert [(seen.method, seen.target, seen.body) for seen in service.seen] == sent[name]
    assert len(lines) == len(ROUTES) + 1


# An answer of the service by status and body, and what the client gets: status and code.
ANSWERS: list[tuple[int, bytes, tuple[int, str | None]]] = [
    *((status, envelope(status, {"id": 7}), (status, None)) for status in (200, 201)),
    *(
        (status, refusal(status, code), (status, code))
        for status, code in (
            (404, "not_found"),
            (412, "precondition_failed"),
            (500, "internal_error"),
            (504, "outcome_unknown"),
        )
    ),
    *((status, b'{"detail": "secret"}', UPSTREAM_ERROR) for status in (200, 404, 418, 429, 500, 503)),
    (200, b"<html>secret</html>", UPSTREAM_ERROR),
    (200, b"", UPSTREAM_ERROR),
    (200, envelope(201, {}), UPSTREAM_ERROR),
]


async def test_an_envelope_passes_byte_for_byte_and_any_other_answer_is_none(
    gateway: Api, products: FakeService
) -> None:
    for status, body, expected in ANSWERS:
        products.respond = respond_with(status, body)
        answer = await gateway.post("/products", {"name": "Lamp", "price": 1, "qty": 1})

        assert (status, body, answer.status, answer.code) == (status, body, *expected)
        assert answer.body["statusCode"] == answer.status
        assert b"secret" not in answer.raw
        if expected == UPSTREAM_ERROR:
            assert (answer.is_envelope, answer.body["path"]) == (True, "/products")
        else:
            assert answer.raw == body


async def test_a_service_that_refuses_connections_is_unavailable() -> None:
    async with opened(f"http://127.0.0.1:{ports.choose()}") as gateway:
        answer = await gateway.post("/orders", ORDER)

    assert (answer.refusal, answer.headers["Retry-After"]) == ((503, "unavailable", []), "1")


async def test_a_request_target_in_absolute_form_is_served_like_any_other(port: int, orders: FakeService) -> None:
    """RFC 9112 §3.2.2: a server must accept it."""
    orders.respond = ok
    async with connected(port) as peer:
        peer.send(b"GET http://elsewhere.example/orders?limit=1 HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n")
        reply = await peer.reply()

    assert reply.status == 200
    assert [seen.target for seen in orders.seen] == ["/orders?limit=1"]
