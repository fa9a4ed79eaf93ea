"""Who is let in to what, on every route of the table."""

import hashlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import hdrs
from structlog.testing import capture_logs

from gateway.keys import entry_of, make_key
from gateway.routes import ROUTES, Route
from gateway.scopes import Scope
from tests.api import Answer, Api
from tests.integration.gateway.behaviour import DONE, ORDER, ok
from tests.integration.gateway.opening import listening, opened
from tests.integration.shared.web.raw import connected
from tests.integration.upstream import FakeService

KEYS = {scope: make_key() for scope in Scope}
WRONG_KEY = make_key()
API_KEYS = ";".join(entry_of(scope.name.lower(), key, [scope]) for scope, key in KEYS.items())
CONTENT = {
    "POST /products": {"name": "Lamp", "price": "1.50", "qty": 1},
    "PATCH /products/{id}": {"name": "Lamp"},
    "POST /products/{id}/stock": {"delta": 1, "reason": "found"},
    "POST /orders": ORDER,
}

# By docs/gateway.md; the rest is public.
DOCUMENTED = {
    Scope.CATALOG_WRITE: {
        "POST /products",
        "PATCH /products/{id}",
        "POST /products/{id}/stock",
        "GET /products/{id}/movements",
    },
    Scope.ORDERS_WRITE: {"POST /orders", "POST /orders/{id}/cancel"},
    Scope.ORDERS_READ: {
        "GET /orders",
        "GET /orders/{id}",
        "GET /orders/{id}/history",
        "GET /orders/{id}/events",
        "GET /orders/product/{productId}",
    },
    None: {"GET /products", "GET /products/{id}"},
}

ALL = pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
GUARDED = pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.scope], ids=lambda route: f"{route.method} {route.path}"
)


@pytest.fixture
async def gateway(products: FakeService, orders: FakeService) -> AsyncIterator[Api]:
    products.respond = orders.respond = ok
    async with opened(products, orders, API_KEYS=API_KEYS) as api:
        yield api


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def ask(gateway: Api, route: Route, authorization: object = None) -> Answer:
    path = route.path.replace("{id}", "7").replace("{productId}", "7")
    content = CONTENT.get(f"{route.method} {route.path}")
    return await gateway.request(route.method, path, json=content, headers=authorization)


def challenge(answer: Answer) -> tuple[int, str | None, str]:
    return answer.status, answer.code, answer.headers["WWW-Authenticate"]


def test_each_route_needs_what_is_documented() -> None:
    needed = {
        scope: {f"{route.method} {route.path}" for route in ROUTES if route.scope is scope} for scope in DOCUMENTED
    }
    assert needed == DOCUMENTED


@GUARDED
async def test_nobody_is_let_in_without_a_key(
    gateway: Api, products: FakeService, orders: FakeService, route: Route
) -> None:
    answer = await ask(gateway, route)

    assert challenge(answer) == (401, "unauthorized", 'Bearer realm="shop"')
    assert products.seen == orders.seen == []


@ALL
async def test_nobody_is_let_in_with_a_wrong_key(
    gateway: Api, products: FakeService, orders: FakeService, route: Route
) -> None:
    """Even where none is needed: who sends one means to be known."""
    answer = await ask(gateway, route, bearer(WRONG_KEY))

    assert challenge(answer) == (401, "unauthorized", 'Bearer realm="shop", error="invalid_token"')
    assert products.seen == orders.seen == []


@GUARDED
async def test_nobody_is_let_in_with_a_key_for_something_else(
    gateway: Api, products: FakeService, orders: FakeService, route: Route
) -> None:
    answers = [await ask(gateway, route, bearer(key)) for scope, key in KEYS.items() if scope is not route.scope]

    needed = f'Bearer realm="shop", error="insufficient_scope", scope="{route.scope}"'
    assert [challenge(answer) for answer in answers] == [(403, "forbidden", needed)] * 3
    assert products.seen == orders.seen == []


@ALL
async def test_the_right_key_is_let_in_and_stays_here(
    gateway: Api, products: FakeService, orders: FakeService, route: Route
) -> None:
    keys = [KEYS[route.scope]] if route.scope else KEYS.values()
    answers = [await ask(gateway, route, bearer(key)) for key in keys]

    seen = [*products.seen, *orders.seen]
    assert [answer.raw for answer in answers] == [DONE] * len(seen)
    assert len(seen) == len(keys)
    assert not any(key in str(request) for request in seen for key in keys)
    assert not any("Authorization" in request.headers for request in seen)


async def test_clients_that_choose_the_same_idempotency_key_do_not_share_it(
    products: FakeService, orders: FakeService
) -> None:
    """A client is a name: with a new secret it is the same one."""
    orders.respond = ok
    for names in (("shop", "kiosk"), ("shop",)):
        secrets = {name: make_key() for name in names}
        keys = ";".join(entry_of(name, secret, [Scope.ORDERS_WRITE]) for name, secret in secrets.items())
        async with opened(products, orders, API_KEYS=keys) as gateway:
            for secret in secrets.values():
                await gateway.post("/orders", ORDER, headers={**bearer(secret), "Idempotency-Key": "basket-7"})

    of_shop, of_kiosk = (hashlib.sha256(f"{name} basket-7".encode()).hexdigest() for name in ("shop", "kiosk"))
    assert [seen.headers["Idempotency-Key"] for seen in orders.seen] == [of_shop, of_kiosk, of_shop]


@pytest.mark.parametrize("wrong", [["two words"], ["k" * 256], ["schlüssel"], [""], ["key", "key"]])
async def test_the_idempotency_key_of_a_client_is_checked_as_it_was_sent(
    gateway: Api, orders: FakeService, wrong: list[str]
) -> None:
    headers = [*bearer(KEYS[Scope.ORDERS_WRITE]).items(), *(("Idempotency-Key", value) for value in wrong)]
    answer = await gateway.post("/orders", ORDER, headers=headers)

    assert answer.refusal == (400, "validation_error", ["Idempotency-Key"])
    assert orders.seen == []


async def test_one_that_nobody_looks_at_may_be_anything(products: FakeService, orders: FakeService) -> None:
    orders.respond = ok
    key = KEYS[Scope.ORDERS_WRITE].encode()
    async with listening(products, orders, API_KEYS=API_KEYS) as port, connected(port) as peer:
        peer.send(b"POST /orders/7/cancel HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer %s\r\n" % key)
        peer.send(b"Content-Length: 0\r\nIdempotency-Key: \xfc\r\n\r\n")
        answer = await peer.reply()

    assert (answer.status, answer.raw) == (200, DONE)


async def test_products_are_read_by_everybody(gateway: Api, products: FakeService) -> None:
    answers = [
        await gateway.request(method, path) for method in ("GET", "HEAD") for path in ("/products", "/products/7")
    ]

    assert [answer.status for answer in answers] == [200] * 4
    assert len(products.seen) == 4


async def test_what_the_gateway_itself_answers(gateway: Api) -> None:
    paths = ("/health/live", "/health/ready", "/docs", "/openapi.json", "/nothing", "/metrics")
    without = {path: (await gateway.get(path)).status for path in paths}
    with_ops = {path: (await gateway.get(path, headers=bearer(KEYS[Scope.OPS]))).status for path in paths}
    others = [await gateway.get("/metrics", headers=bearer(KEYS[scope])) for scope in KEYS if scope is not Scope.OPS]

    public = {"/health/live": 200, "/health/ready": 200, "/docs": 200, "/openapi.json": 200, "/nothing": 404}
    assert without == {**public, "/metrics": 401}
    assert with_ops == {**public, "/metrics": 200}
    assert {answer.status for answer in others} == {403}


async def test_which_part_is_down_is_shown_to_operators_only(gateway: Api) -> None:
    shown = {scope: (await gateway.get("/health/ready", headers=bearer(key))).data for scope, key in KEYS.items()}
    to_everybody = (await gateway.get("/health/ready")).data

    assert shown.pop(Scope.OPS) == {"status": "ready", "checks": {"products": "ok", "orders": "ok"}}
    assert [to_everybody, *shown.values()] == [{"status": "ready"}] * 4


KEY = KEYS[Scope.ORDERS_READ]
ONE_HEADER = [
    "",
    KEY,
    "Bearer",
    "Bearer ",
    "Bearer  ",
    f"Bearer{KEY}",
    f"Bearer\t{KEY}",
    f"Bearer {KEY} {KEY}",
    f"Bearer {KEY}, Bearer {KEY}",
    f"Bearer {KEY[:-1]}",
    f"Bearer {KEY}=",
    f"Bearer {KEY.upper()}",
    f'Bearer "{KEY}"',
    f"Bearer {KEY}ü",
    "Bearer " + "k" * 201,
    f"Token {KEY}",
    f"Basic {KEY}",
]
MALFORMED = [
    *([("Authorization", value)] for value in ONE_HEADER),
    [("Authorization", f"Bearer {KEY}"), ("Authorization", f"Bearer {KEY}")],
    [("Authorization", f"Bearer {KEY}"), ("Authorization", f"Bearer {WRONG_KEY}")],
    [("Authorization", f"Bearer {KEY}"), ("authorization", "")],
    [("Authorization", ""), ("Authorization", f"Bearer {KEY}")],
]


async def test_a_malformed_header_is_refused(gateway: Api, orders: FakeService) -> None:
    refused = [await gateway.get("/orders/7", headers=headers) for headers in MALFORMED]

    assert [(answer.status, answer.code) for answer in refused] == [(401, "unauthorized")] * len(MALFORMED)
    assert all(answer.headers[hdrs.WWW_AUTHENTICATE].startswith("Bearer ") for answer in refused)
    assert orders.seen == []


@pytest.mark.parametrize("form", ["bearer {}", "BEARER {}", "Bearer   {}", "Bearer {} "])
async def test_case_and_spaces_around_make_no_difference(gateway: Api, form: str) -> None:
    answer = await gateway.get("/orders/7", headers={"Authorization": form.format(KEY)})

    assert (answer.status, answer.raw) == (200, DONE)


async def test_no_key_is_ever_logged(
    products: FakeService, orders: FakeService, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nor shown in an answer, whatever a client does with it."""
    products.respond = orders.respond = ok
    answers = []
    with capture_logs() as lines, caplog.at_level("DEBUG"):
        async with opened(products, orders, API_KEYS=API_KEYS, RATE_LIMIT="100/1") as gateway:
            for key in (*KEYS.values(), WRONG_KEY):
                answers += [await ask(gateway, route, bearer(key)) for route in ROUTES]
                answers += [await gateway.get(path, headers=bearer(key)) for path in ("/metrics", "/health/ready")]
            answers += [await gateway.get("/orders/7", headers=headers) for headers in MALFORMED]

    told = f"{lines} {caplog.text} {capfd.readouterr()} {[(answer.headers, answer.raw) for answer in answers]}"
    assert len(lines) >= len(answers)
    assert [key for key in (*KEYS.values(), WRONG_KEY) if key.lower()[8:24] in told.lower()] == []
