"""Who is let in to what, and how often, on every route; the rules are tested in tests/unit/gateway."""

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial

import pytest
from structlog.testing import capture_logs

from gateway import app
from gateway.access.rate import Refusals
from gateway.keys import entry_of, make_key
from gateway.routes import ROUTES
from gateway.scopes import Scope
from tests.api import Answer, Api
from tests.integration.gateway.behaviour import DONE, ORDER, crash, ok
from tests.integration.gateway.opening import listening, opened, sample
from tests.integration.shared.web.raw import connected
from tests.integration.upstream import FakeService, respond_with
from tests.waiting import eventually
from tools.documents.openapi.document import document
from tools.documents.openapi.headers import PARAMETERS

KEYS = {scope: make_key() for scope in Scope}
WRONG_KEY = make_key()
API_KEYS = ";".join(entry_of(scope.name.lower(), key, [scope]) for scope, key in KEYS.items())
CONTENT = {
    "POST /products": {"name": "Lamp", "price": "1.50", "qty": 1},
    "PATCH /products/{id}": {"name": "Lamp"},
    "POST /products/{id}/stock": {"delta": 1, "reason": "found"},
    "POST /orders": ORDER,
    "PATCH /orders/{id}": {"metadata": {}},
    "POST /orders/{id}/hold": {"holdSeconds": 900},
}
# By docs/gateway.md; every other route is public.
DOCUMENTED = {
    **dict.fromkeys(
        ("POST /products", "PATCH /products/{id}", "POST /products/{id}/stock", "GET /products/{id}/movements"),
        Scope.CATALOG_WRITE,
    ),
    **dict.fromkeys(("POST /orders", "PATCH /orders/{id}"), Scope.ORDERS_WRITE),
    **{f"POST /orders/{{id}}/{action}": Scope.ORDERS_WRITE for action in ("cancel", "confirm", "hold")},
    **dict.fromkeys(
        ("GET /orders", "GET /orders/{id}", "GET /orders/{id}/history", "GET /orders/{id}/events"), Scope.ORDERS_READ
    ),
    "GET /orders/product/{productId}": Scope.ORDERS_READ,
}
LET_IN = (200, "")
NO_KEY = (401, 'Bearer realm="shop"')
INVALID_KEY = (401, 'Bearer realm="shop", error="invalid_token"')
STREAM = respond_with(200, b"id: 1\n\n", {"Content-Type": "text/event-stream"})

# Three requests at once, then one a minute, so that no test is slow enough to be allowed one more.
RATE_LIMIT = "60/3600/3"
POLICY = '"default";q=60;w=3600'
SHOP, OTHER, STRANGER = "https://shop.example", "http://localhost:8080", "https://evil.example"
# The headers that /openapi.json names are all ones that a page may send or see.
DESCRIBED_REQUESTS = {parameter["name"].lower() for parameter in PARAMETERS.values()}
DESCRIBED_ANSWERS = {
    header.lower()
    for operations in document(ROUTES)["paths"].values()
    for operation in operations.values()
    for answer in operation["responses"].values()
    for header in answer.get("headers", ())
} - {"content-type"}
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type, idempotency-key",
}


@pytest.fixture(autouse=True)
def services(products: FakeService, orders: FakeService) -> tuple[FakeService, FakeService]:
    products.respond = orders.respond = ok
    return products, orders


def bearer(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def lets_in(scope: Scope | None, key: str | None) -> tuple[int, str]:
    """The status and the challenge of an answer."""
    if key == WRONG_KEY:
        return INVALID_KEY  # on a public route too, since a client that sends a key means to be known
    if scope is None or key == KEYS[scope]:
        return LET_IN
    return (403, f'Bearer realm="shop", error="insufficient_scope", scope="{scope}"') if key else NO_KEY


async def ask(gateway: Api, route: str, headers: dict[str, str]) -> Answer:
    method, path = route.replace("{id}", "7").replace("{productId}", "7").split()
    return await gateway.request(method, path, json=CONTENT.get(route), headers=headers)


async def statuses(gateway: Api, *requests: dict[str, str]) -> list[int]:
    """The status of a request with each of these headers."""
    return [(await gateway.get("/orders/1", headers=headers)).status for headers in requests]


def limits(answer: Answer) -> tuple[int, str | None, str | None]:
    return answer.status, answer.headers.get("RateLimit-Policy"), answer.headers.get("RateLimit")


def access(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("Access-Control-")}


def words(answer: Answer, name: str) -> set[str]:
    """In lower case, as header names compare."""
    return {word.strip().lower() for word in answer.headers[name].split(",")}


async def test_each_route_lets_in_the_key_with_its_scope_alone(products: FakeService, orders: FakeService) -> None:
    keys = [None, WRONG_KEY, *KEYS.values()]
    routes = [f"{route.method} {route.path}" for route in ROUTES] + ["HEAD /products", "HEAD /orders/{id}"]
    async with opened(orders, products, API_KEYS=API_KEYS) as gateway:
        answers = {(route, key): await ask(gateway, route, bearer(key)) for route in routes for key in keys}

    scopes = {route: DOCUMENTED.get(route.replace("HEAD", "GET")) for route in routes}
    found = {which: (answer.status, answer.headers.get("WWW-Authenticate", "")) for which, answer in answers.items()}
    assert found == {(route, key): lets_in(scopes[route], key) for route in routes for key in keys}
    refused = {(answer.status, answer.code) for answer in answers.values() if answer.status != 200 and answer.raw}
    assert refused == {(401, "unauthorized"), (403, "forbidden")}
    seen = [*products.seen, *orders.seen]
    assert len(seen) == list(found.values()).count(LET_IN)
    assert not any("Authorization" in request.headers or "shop_" in str(request) for request in seen)


async def test_two_keys_are_none(orders: FakeService) -> None:
    """A header of several lines is one list (RFC 9110 §5.3)."""
    good, wrong = bearer(KEYS[Scope.ORDERS_READ])["Authorization"], f"Bearer {WRONG_KEY}"
    async with opened(orders, API_KEYS=API_KEYS) as gateway:
        for lines in ([good, good], [good, wrong], [good, ""], ["", good]):
            answer = await gateway.get("/orders/7", headers=[("Authorization", line) for line in lines])
            assert (answer.status, answer.code) == (401, "unauthorized")
    assert orders.seen == []


async def test_a_key_may_stand_in_a_header_of_its_own(orders: FakeService) -> None:
    """In both headers it must be the same one."""
    good, other = KEYS[Scope.ORDERS_READ], KEYS[Scope.ORDERS_WRITE]
    cases = {
        (("X-API-Key", good),): 200,
        (("x-api-key", good), ("Authorization", f"Bearer {good}")): 200,
        (("X-API-Key", other),): 403,
        (("X-API-Key", other), ("Authorization", f"Bearer {good}")): 401,
        (("X-API-Key", good), ("Authorization", f"Bearer {other}")): 401,
        (("X-API-Key", good), ("Authorization", "Basic Zm9vOmJhcg==")): 401,
        (("X-API-Key", good), ("X-API-Key", good)): 401,
        (("X-API-Key", WRONG_KEY),): 401,
        (("X-API-Key", f"Bearer {good}"),): 401,
        (("X-API-Key", ""),): 401,
    }
    async with opened(orders, API_KEYS=API_KEYS) as gateway:
        found = {headers: (await gateway.get("/orders/7", headers=headers)).status for headers in cases}

    assert found == cases
    assert not any("X-API-Key" in seen.headers for seen in orders.seen)


async def test_clients_that_choose_the_same_idempotency_key_do_not_share_it(orders: FakeService) -> None:
    """A client is a name: with a new secret it is the same one. What it sends is checked before it is hashed."""
    for names in (("shop", "kiosk"), ("shop",)):
        secrets = {name: make_key() for name in names}
        keys = ";".join(entry_of(name, secret, [Scope.ORDERS_WRITE]) for name, secret in secrets.items())
        async with opened(orders, API_KEYS=keys) as gateway:
            for secret in secrets.values():
                await gateway.post("/orders", ORDER, headers={**bearer(secret), "Idempotency-Key": "basket-7"})
                wrong = await gateway.post("/orders", ORDER, headers={**bearer(secret), "Idempotency-Key": "k" * 256})
                assert wrong.refusal == (400, "validation_error", ["Idempotency-Key"])

    of_shop, of_kiosk = (hashlib.sha256(f"{name} basket-7".encode()).hexdigest() for name in ("shop", "kiosk"))
    assert [seen.headers["Idempotency-Key"] for seen in orders.seen] == [of_shop, of_kiosk, of_shop]


async def test_a_client_that_exchanges_its_key_is_one_client_with_either(orders: FakeService) -> None:
    old, new = make_key(), make_key()
    digests = [entry_of("shop", secret, [Scope.ORDERS_WRITE]).split()[1] for secret in (old, new)]
    keys = f"shop {','.join(digests)} orders:write"
    async with opened(orders, API_KEYS=keys, RATE_LIMIT=RATE_LIMIT) as gateway:
        answers = [
            await gateway.post("/orders", ORDER, headers={**bearer(secret), "Idempotency-Key": "basket-7"})
            for secret in (old, new, old, new)
        ]

    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert len({seen.headers["Idempotency-Key"] for seen in orders.seen}) == 1


async def test_an_idempotency_key_that_no_service_looks_at_may_be_any_bytes(orders: FakeService) -> None:
    key = KEYS[Scope.ORDERS_WRITE].encode()
    async with listening(orders, API_KEYS=API_KEYS) as port, connected(port) as peer:
        peer.send(b"POST /orders/7/cancel HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer %s\r\n" % key)
        peer.send(b"Content-Length: 0\r\nIdempotency-Key: \xfc\r\n\r\n")
        answer = await peer.reply()

    assert (answer.status, answer.raw) == (200, DONE)


async def test_operators_alone_see_metrics_and_which_part_is_down(orders: FakeService) -> None:
    paths = ("/health/live", "/health/ready", "/docs", "/openapi.json", "/nothing", "/metrics")
    keys: list[tuple[Scope | None, str | None]] = [(None, None), *KEYS.items()]
    async with opened(orders, API_KEYS=API_KEYS) as gateway:
        answers = {
            scope: {path: await gateway.get(path, headers=bearer(key)) for path in paths} for scope, key in keys
        }

    public = {"/health/live": 200, "/health/ready": 200, "/docs": 200, "/openapi.json": 200, "/nothing": 404}
    for scope, found in answers.items():
        metrics = 200 if scope is Scope.OPS else 403 if scope else 401
        assert {path: answer.status for path, answer in found.items()} == {**public, "/metrics": metrics}
        shown = {"checks": {"products": "ok", "orders": "ok"}} if scope is Scope.OPS else {}
        assert found["/health/ready"].data == {"status": "ready", **shown}


async def test_no_key_is_ever_logged_or_shown(
    orders: FakeService, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    keys = [*KEYS.values(), WRONG_KEY]
    answers = []
    with capture_logs() as lines, caplog.at_level("DEBUG"):
        async with opened(orders, API_KEYS=API_KEYS, RATE_LIMIT="100/1") as gateway:
            for key in keys:
                for form in (f"Bearer {key}", f"Basic {key}", key, f"Bearer {key}ü", f"Bearer {key}, {key}"):
                    headers = {"Authorization": form, "Idempotency-Key": "key"}
                    answers.append(await gateway.post("/orders", ORDER, headers=headers))
                    answers += [await gateway.get(path, headers=headers) for path in ("/metrics", "/health/ready")]

    found = f"{lines} {caplog.text} {capfd.readouterr()} {[(answer.headers, answer.raw) for answer in answers]}"
    assert len(lines) >= len(answers)
    assert [key for key in keys if key.lower()[8:24] in found.lower()] == []


async def test_a_burst_is_served_and_what_is_beyond_it_is_refused_before_its_body(orders: FakeService) -> None:
    async with opened(orders, RATE_LIMIT=RATE_LIMIT) as gateway:
        before = await sample(gateway, 'gateway_refused_total{reason="rate_limit"}')
        answers = [await gateway.get("/orders/1") for _ in range(3)]
        answers += [await gateway.post("/orders", {"productId": "seven"}) for _ in range(2)]
        refused = await sample(gateway, 'gateway_refused_total{reason="rate_limit"}') - before

    assert [limits(answer) for answer in answers] == [
        (200, POLICY, '"default";r=2;t=60'),
        (200, POLICY, '"default";r=1;t=120'),
        (200, POLICY, '"default";r=0;t=180'),
        *[(429, POLICY, '"default";r=0;t=60')] * 2,
    ]
    assert [(answer.code, answer.headers["Retry-After"]) for answer in answers[3:]] == [("rate_limited", "60")] * 2
    assert (len(orders.seen), refused) == (3, 2)


@pytest.mark.parametrize("limit", ["", "60/3600/5"])
async def test_every_answer_of_a_route_shows_what_is_left_and_no_other_does(
    products: FakeService, orders: FakeService, limit: str
) -> None:
    """A stream, a refusal of the gateway, and one of the service have them too; a limit that is not set is high."""
    orders.respond, products.respond = STREAM, crash
    routes = {"GET /orders/1/events": 200, "GET /orders/x": 400, "POST /orders": 415, "GET /products/1": 500}
    routes["HEAD /orders/1/history"] = 200
    own = ["GET /health/live", "GET /health/ready", "GET /metrics", "GET /docs", "GET /openapi.json"]
    async with opened(orders, products, RATE_LIMIT=limit) as gateway:
        answers = [await gateway.request(*line.split()) for line in [*routes, *own]]
        last = await gateway.get("/orders/x")

    found = [limits(answer) for answer in answers]
    if limit:
        expected = [
            (status, POLICY, f'"default";r={4 - number};t={60 * number + 60}')
            for number, status in enumerate(routes.values())
        ]
        assert found[: len(routes)] == expected
    else:
        assert {policy for _, policy, _ in found[: len(routes)]} == {'"default";q=300000;w=60'}
    assert found[len(routes) :] == [(200, None, None)] * len(own)
    assert last.status == (429 if limit else 400)


@pytest.mark.parametrize(
    ("line", "status"),
    [("GET /orders/1", 401), ("GET /nothing", 404), ("DELETE /orders", 405), ("GET /orders//1", 400)],
)
async def test_a_client_that_is_refused_again_and_again_waits_for_it(
    orders: FakeService, monkeypatch: pytest.MonkeyPatch, line: str, status: int
) -> None:
    """Whether a key, the path, the method or the form of the head is wrong."""
    monkeypatch.setattr(app, "Refusals", partial(Refusals, 1.0, 60.0))
    async with opened(orders, API_KEYS=API_KEYS, TRUSTED_PROXIES="127.0.0.1") as gateway:
        served = await gateway.get("/orders/1", headers=bearer(KEYS[Scope.ORDERS_READ]))
        first = await gateway.request(*line.split())
        again = asyncio.create_task(gateway.request(*line.split()))
        others = [
            (await gateway.request(*line.split(), headers={"X-Forwarded-For": f"192.0.2.{last}"})).status
            for last in range(3)
        ]
        waits = not again.done()
        again.cancel()

    assert (first.status, served.status, others, waits) == (status, 200, [status] * 3, True)


async def test_what_is_no_request_waits_for_its_refusal_too(
    orders: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "Refusals", partial(Refusals, 1.0, 60.0))
    async with listening(orders) as port, AsyncExitStack() as stack:
        lines = stack.enter_context(capture_logs())
        peers = [await stack.enter_async_context(connected(port, f"127.0.0.{last}")) for last in (2, 3, 3, 2)]
        first, second, again, other = peers
        replies = []
        for peer in (first, second):
            peer.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
            replies.append((await peer.reply()).status)
        held = asyncio.create_task(again.reply())
        again.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        await eventually(lambda: sum(line["event"] == "request refused" for line in lines) == 3)
        other.send(b"GET /orders/1 HTTP/1.1\r\nHost: shop\r\n\r\n")
        replies.append((await other.reply()).status)
        waits = not held.done()
        held.cancel()

    assert (replies, waits) == ([400, 400, 200], True)


@pytest.mark.parametrize(
    "request_",
    [b"POST /orders HTTP/1.1\r\nHost: a", b"GET //1 HTTP/1.1\r\nHost: a", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b"],
)
async def test_nothing_is_kept_of_a_client_that_leaves_while_its_refusal_waits(
    orders: FakeService, monkeypatch: pytest.MonkeyPatch, request_: bytes
) -> None:
    monkeypatch.setattr(app, "Refusals", partial(Refusals, 0.01, 60.0))
    async with listening(orders, API_KEYS=API_KEYS) as port:
        before = asyncio.all_tasks()
        for last in (2, 3):
            async with connected(port, f"127.0.0.{last}") as peer:
                peer.send(request_ + b"\r\n\r\n")
                if last == 2:
                    await peer.reply()
        await eventually(lambda: asyncio.all_tasks() <= before)


async def test_the_body_of_a_request_that_waited_for_its_refusal_is_not_read(
    orders: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "Refusals", partial(Refusals, 1.0, 0.01))
    head = b"POST /orders HTTP/1.1\r\nHost: shop\r\nContent-Length: 10\r\n"
    async with (
        listening(orders, API_KEYS=API_KEYS, TRUSTED_PROXIES="127.0.0.1") as port,
        connected(port) as one,
        connected(port) as other,
    ):
        other.send(head + b"X-Forwarded-For: 192.0.2.1\r\n\r\n0123456789")
        statuses = [(await other.reply()).status]
        for body in (b"0123456789", b"01234"):
            one.send(head + b"\r\n" + body)
            statuses.append((await one.reply()).status)
        rest = await one.rest()

    assert (statuses, rest) == ([401, 401, 401], b"")


async def test_each_key_has_its_own_bucket_and_each_address_one_for_all_else(orders: FakeService) -> None:
    """So guessing keys is limited too."""
    secrets = {name: make_key() for name in ("one", "other")}
    keys = ";".join(entry_of(name, key, [Scope.ORDERS_READ]) for name, key in secrets.items())
    first, second, unknown = map(bearer, (*secrets.values(), WRONG_KEY))
    async with opened(orders, RATE_LIMIT="2/3600", API_KEYS=keys) as gateway:
        of_keys = [await statuses(gateway, headers, headers, headers) for headers in (first, second)]
        of_address = await statuses(gateway, unknown, {"Authorization": "Basic Zm9vOmJhcg=="}, unknown, {})
        of_first_again = await statuses(gateway, first)

    assert of_keys == [[200, 200, 429]] * 2
    assert (of_address, of_first_again) == ([401, 401, 429, 429], [429])


@pytest.mark.parametrize(
    ("trusted", "expected"),
    [
        ("127.0.0.1,10.0.0.0/8", [[200, 429, 429], [200, 429], [200, 429, 200], [200, 429]]),
        ("10.0.0.0/8", [[200, 429, 429], [429, 429], [429, 429, 429], [429, 429]]),
        ("", [[200, 429, 429], [429, 429], [429, 429, 429], [429, 429]]),
    ],
)
async def test_a_trusted_proxy_names_the_client(orders: FakeService, trusted: str, expected: list[list[int]]) -> None:
    of_clients = [
        ["192.0.2.1", "192.0.2.1", "192.0.2.1, 10.1.2.3"],
        ["192.0.2.2", "198.51.100.9, 192.0.2.2"],
        ["2001:db8::1", "2001:db8::ffff", "2001:db8:0:1::1"],  # two of one site, one of the next
        ["", "nonsense"],  # the proxy itself
    ]
    async with opened(orders, RATE_LIMIT="1/3600", TRUSTED_PROXIES=trusted) as gateway:
        found = [await statuses(gateway, *({"X-Forwarded-For": hops} for hops in requests)) for requests in of_clients]

    assert expected == found


ASKS = (SHOP, OTHER, STRANGER, "null", f"{SHOP}.evil.example", "http://shop.example", f"{SHOP}:444", "*", "")


@pytest.mark.parametrize(
    ("setting", "allowed"),
    [("", ()), (f"{SHOP}, {OTHER}", (SHOP, OTHER)), ("*", ASKS[:-1])],
    ids=["none", "two", "all"],
)
async def test_a_page_of_an_origin_that_is_set_may_ask_and_read_the_answer(
    orders: FakeService, setting: str, allowed: Sequence[str]
) -> None:
    """Others are answered all the same: it is the browser that keeps the answer from the page."""
    async with opened(orders, CORS_ORIGINS=setting) as gateway:
        for origin in ASKS:
            simple = await gateway.post("/orders", ORDER, headers={"Origin": origin, **PREFLIGHT})
            preflight = await gateway.request("OPTIONS", "/orders", headers={"Origin": origin, **PREFLIGHT})
            assert (origin, simple.status, preflight.status) == (origin, 200, 204 if origin in allowed else 405)
            for answer in (simple, preflight):
                if origin not in allowed:
                    assert access(answer) == {}
                    continue
                assert (answer.headers["Access-Control-Allow-Origin"], answer.headers["Vary"]) == (origin, "Origin")
                shown = words(answer, "Access-Control-Expose-Headers")
                assert shown >= {"ratelimit", "ratelimit-policy"} | DESCRIBED_ANSWERS
                assert "Access-Control-Allow-Credentials" not in answer.headers


async def test_a_preflight_is_answered_without_a_key_or_a_limit(products: FakeService, orders: FakeService) -> None:
    async with opened(orders, products, CORS_ORIGINS=SHOP, API_KEYS=API_KEYS, RATE_LIMIT="1/3600") as gateway:
        for path in ("/orders", "/products/7", "/orders/7/events", "/nothing"):
            answer = await gateway.request("OPTIONS", path, headers={"Origin": SHOP, **PREFLIGHT})
            assert (answer.status, answer.raw, answer.headers["Access-Control-Max-Age"]) == (204, b"", "600")
            assert words(answer, "Access-Control-Allow-Methods") == {"get", "head", "post", "patch"}
            assert words(answer, "Access-Control-Allow-Headers") == DESCRIBED_REQUESTS | {
                *(
                    "authorization",
                    "x-api-key",
                    "content-type",
                    "content-encoding",
                    "tracestate",
                    "x-request-timeout-ms",
                ),
            }
    assert products.seen == orders.seen == []


async def test_a_page_can_read_every_kind_of_answer(products: FakeService, orders: FakeService) -> None:
    orders.respond, products.respond = STREAM, respond_with(200, b"no JSON")
    lines = {
        "GET /orders/1/events": 200,
        "GET /orders/x": 400,
        "GET /nothing": 404,
        "DELETE /orders": 405,
        "OPTIONS /orders": 405,
        "GET /products/1": 502,
        "GET /openapi.json": 200,
    }
    async with opened(orders, products, CORS_ORIGINS=SHOP) as gateway:
        answers = [await gateway.request(*line.split(), headers={"Origin": SHOP}) for line in lines]
    async with opened(orders, products, CORS_ORIGINS=SHOP, API_KEYS=API_KEYS, RATE_LIMIT="1/3600") as gateway:
        answers += [await gateway.get("/orders/1", headers={"Origin": SHOP}) for _ in range(2)]

    assert [answer.status for answer in answers] == [*lines.values(), 401, 429]
    assert {answer.headers.get("Access-Control-Allow-Origin") for answer in answers} == {SHOP}


UNROUTED = {
    b"GET /orders/../x HTTP/1.1\r\nHost: test\r\nOrigin: %s\r\n\r\n": 400,
    b"POST /orders HTTP/1.1\r\nHost: test\r\nOrigin: %s\r\nContent-Length: 70000\r\n\r\n": 413,
    b"POST /orders HTTP/1.1\r\nHost: test\r\nOrigin: %s\r\nExpect: more\r\nContent-Length: 2\r\n\r\n{}": 400,
    b"POST /orders HTTP/1.1\r\nHost: test\r\nOrigin: %s\r\nTransfer-Encoding: gzip\r\n\r\n": 400,
    b"GET /orders HTTP/1.1\r\nHost: test\r\norigin:%s \r\nX: \0\r\n\r\n": 400,
    b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: test\r\nORIGIN: \t%s\r\n\r\n": 414,
    b"GET /orders HTTP/1.1\r\nHost: test\r\nOrigin: %s\r\nX: " + b"a" * 9_000 + b"\r\n\r\n": 431,
    b"GET /orders HTTP/2.0\r\nHost: test\r\nOrigin: %s\r\n\r\n": 505,
}


@pytest.mark.parametrize(("origin", "allowed"), [(SHOP, SHOP), (STRANGER, None), ("", None)])
async def test_a_page_can_read_what_is_refused_before_it_reaches_a_handler(
    orders: FakeService, origin: str, allowed: str | None
) -> None:
    """Otherwise the browser would tell the page no more than that it failed to fetch."""
    async with listening(orders, CORS_ORIGINS=SHOP) as port:
        for request, status in UNROUTED.items():
            async with connected(port) as peer:
                peer.send(request.replace(b"%s", origin.encode()))
                answer = await peer.reply()
            assert (answer.status, answer.headers.get("access-control-allow-origin")) == (status, allowed)
            assert ("access-control-expose-headers" in answer.headers) is (allowed is not None)
            assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_request_that_could_be_taken_for_two_is_no_preflight(orders: FakeService) -> None:
    """RFC 9112 §11.2: nothing behind it is read, whichever page it comes from."""
    head = f"OPTIONS /orders HTTP/1.1\r\nHost: test\r\nOrigin: {SHOP}\r\nAccess-Control-Request-Method: POST\r\n"
    bodies = {
        "\r\n": 204,
        "Transfer-Encoding: chunked, identity\r\n\r\n": 400,
        "Content-Length: 002\r\n\r\n{}": 400,
        "Content-Length: 2\r\n\r\n{}": 405,
    }
    async with listening(orders, CORS_ORIGINS=SHOP) as port:
        for body, status in bodies.items():
            async with connected(port) as peer:
                peer.send((head + body).encode())
                assert (await peer.reply()).status == status
