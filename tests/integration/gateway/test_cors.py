"""Pages of other origins: https://fetch.spec.whatwg.org/#http-cors-protocol."""

import pytest

from gateway.keys import entry_of, make_key
from gateway.scopes import Scope
from tests.api import Answer
from tests.integration.gateway.behaviour import ORDER, ok
from tests.integration.gateway.opening import opened
from tests.integration.upstream import FakeService, respond_with

SHOP = "https://shop.example"
OTHER = "http://localhost:8080"
STRANGER = "https://evil.example"
ORIGINS = f"{SHOP}, {OTHER}"
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type, idempotency-key",
}
STREAM = respond_with(200, b"id: 1\n\n", {"Content-Type": "text/event-stream"})


def access(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("Access-Control-")}


def words(answer: Answer, name: str) -> set[str]:
    """In lower case, as header names compare."""
    return {word.strip().lower() for word in answer.headers[name].split(",")}


async def test_where_no_origin_is_set_no_page_is_let_in(products: FakeService, orders: FakeService) -> None:
    orders.respond = ok
    async with opened(products, orders) as gateway:
        simple = await gateway.get("/orders/1", headers={"Origin": SHOP})
        preflight = await gateway.request("OPTIONS", "/orders", headers={"Origin": SHOP, **PREFLIGHT})

    assert (simple.status, access(simple), preflight.status, access(preflight)) == (200, {}, 405, {})


@pytest.mark.parametrize("origin", [SHOP, OTHER])
async def test_a_page_may_ask_and_read_the_answer(products: FakeService, orders: FakeService, origin: str) -> None:
    orders.respond = ok
    async with opened(products, orders, CORS_ORIGINS=ORIGINS) as gateway:
        answer = await gateway.post("/orders", ORDER, headers={"Origin": origin})

    assert answer.status == 200
    assert (answer.headers["Access-Control-Allow-Origin"], answer.headers["Vary"]) == (origin, "Origin")
    assert words(answer, "Access-Control-Expose-Headers") >= {
        *("etag", "link", "location", "retry-after", "x-request-id", "idempotency-replayed", "ratelimit"),
    }
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize("path", ["/orders", "/products/7", "/orders/7/events", "/nothing"])
async def test_a_preflight_is_answered_by_the_gateway_itself(
    products: FakeService, orders: FakeService, path: str
) -> None:
    """A browser sends no key with it."""
    keys = entry_of("shop", make_key(), [Scope.ORDERS_WRITE])
    async with opened(products, orders, CORS_ORIGINS=ORIGINS, API_KEYS=keys, RATE_LIMIT="1/3600") as gateway:
        answers = [await gateway.request("OPTIONS", path, headers={"Origin": SHOP, **PREFLIGHT}) for _ in range(2)]

    for answer in answers:
        assert (answer.status, answer.raw, answer.headers["Access-Control-Allow-Origin"]) == (204, b"", SHOP)
        assert words(answer, "Access-Control-Allow-Methods") == {"get", "head", "post", "patch"}
        assert words(answer, "Access-Control-Allow-Headers") >= {
            *("authorization", "content-type", "idempotency-key", "if-match", "last-event-id", "traceparent"),
        }
        assert int(answer.headers["Access-Control-Max-Age"]) > 0
    assert products.seen == orders.seen == []


@pytest.mark.parametrize(
    "origin",
    [
        STRANGER,
        "null",
        "https://shop.example.evil.example",
        "http://shop.example",
        f"{SHOP}:444",
        SHOP.upper(),
        "*",
        "",
    ],
)
async def test_a_page_of_another_origin_learns_nothing(
    products: FakeService, orders: FakeService, origin: str
) -> None:
    """The answer is there all the same: it is the browser that keeps it from the page."""
    orders.respond = ok
    async with opened(products, orders, CORS_ORIGINS=ORIGINS) as gateway:
        simple = await gateway.get("/orders/1", headers={"Origin": origin})
        preflight = await gateway.request("OPTIONS", "/orders", headers={"Origin": origin, **PREFLIGHT})

    assert (simple.status, access(simple), preflight.status, access(preflight)) == (200, {}, 405, {})


@pytest.mark.parametrize("origin", [SHOP, STRANGER, "null"])
async def test_every_page_is_let_in_where_that_is_asked_for(
    products: FakeService, orders: FakeService, origin: str
) -> None:
    orders.respond = ok
    async with opened(products, orders, CORS_ORIGINS="*") as gateway:
        simple = await gateway.get("/orders/1", headers={"Origin": origin})
        preflight = await gateway.request("OPTIONS", "/orders", headers={"Origin": origin, **PREFLIGHT})

    assert (simple.status, preflight.status) == (200, 204)
    assert simple.headers["Access-Control-Allow-Origin"] == preflight.headers["Access-Control-Allow-Origin"] == origin


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET /orders/1/events", 200),
        ("GET /orders/x", 400),
        ("GET /nothing", 404),
        ("DELETE /orders", 405),
        ("OPTIONS /orders", 405),
        ("GET /products/1", 502),
        ("GET /openapi.json", 200),
    ],
)
async def test_a_page_can_read_every_kind_of_answer(
    products: FakeService, orders: FakeService, line: str, status: int
) -> None:
    """Streams and refusals too."""
    orders.respond, products.respond = STREAM, respond_with(200, b"no JSON")
    async with opened(products, orders, CORS_ORIGINS=ORIGINS) as gateway:
        answer = await gateway.request(*line.split(), headers={"Origin": SHOP})

    assert (answer.status, answer.headers.get("Access-Control-Allow-Origin")) == (status, SHOP)


async def test_a_page_can_read_that_it_is_refused(products: FakeService, orders: FakeService) -> None:
    keys = entry_of("shop", make_key(), [Scope.ORDERS_WRITE])
    async with opened(products, orders, CORS_ORIGINS=ORIGINS, API_KEYS=keys, RATE_LIMIT="1/3600") as gateway:
        answers = [await gateway.get("/orders/1", headers={"Origin": SHOP}) for _ in range(2)]

    assert [answer.status for answer in answers] == [401, 429]
    assert [answer.headers.get("Access-Control-Allow-Origin") for answer in answers] == [SHOP] * 2
