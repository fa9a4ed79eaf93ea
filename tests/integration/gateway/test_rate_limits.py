"""How often a client may ask: three at once, then one a minute, so that no test is too slow to be refused."""

import pytest

from gateway.keys import entry_of, make_key
from gateway.scopes import Scope
from tests.api import Answer, Api
from tests.integration.gateway.behaviour import crash, ok
from tests.integration.gateway.opening import opened, sample
from tests.integration.upstream import FakeService, respond_with
from tests.waiting import eventually

RATE_LIMIT = "60/3600/3"
POLICY = '"default";q=60;w=3600'
STREAM = respond_with(200, b"id: 1\n\n", {"Content-Type": "text/event-stream"})


def told(answer: Answer) -> tuple[int, str | None, str | None]:
    return answer.status, answer.headers.get("RateLimit-Policy"), answer.headers.get("RateLimit")


async def statuses(gateway: Api, *requests: dict[str, str]) -> list[int]:
    """Of a request with each of these headers."""
    return [(await gateway.get("/orders/1", headers=headers)).status for headers in requests]


async def test_a_burst_is_served_and_what_is_beyond_refused(products: FakeService, orders: FakeService) -> None:
    orders.respond = ok
    async with opened(products, orders, RATE_LIMIT=RATE_LIMIT) as gateway:
        before = await sample(gateway, 'gateway_refused_total{reason="rate_limit"}')
        answers = [await gateway.get("/orders/1") for _ in range(5)]
        refused = await sample(gateway, 'gateway_refused_total{reason="rate_limit"}') - before

    assert [told(answer) for answer in answers] == [
        (200, POLICY, '"default";r=2;t=60'),
        (200, POLICY, '"default";r=1;t=120'),
        (200, POLICY, '"default";r=0;t=180'),
        (429, POLICY, '"default";r=0;t=60'),
        (429, POLICY, '"default";r=0;t=60'),
    ]
    assert [(answer.code, answer.headers["Retry-After"]) for answer in answers[3:]] == [("rate_limited", "60")] * 2
    assert (len(orders.seen), refused) == (3, 2)


async def test_a_bucket_fills_up_again(products: FakeService, orders: FakeService) -> None:
    orders.respond = ok
    async with opened(products, orders, RATE_LIMIT="1/1") as gateway:
        assert await statuses(gateway, {}, {}) == [200, 429]

        async def is_served() -> bool:
            return await statuses(gateway, {}) == [200]

        await eventually(is_served, within=3.0)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET /orders/1/events", 200),
        ("GET /orders/x", 400),
        ("POST /orders", 415),
        ("GET /products/1", 500),
        ("HEAD /orders/1/history", 200),
    ],
)
async def test_every_kind_of_answer_tells_what_is_left(
    products: FakeService, orders: FakeService, line: str, status: int
) -> None:
    """A stream, a refusal of the gateway, one of the service."""
    orders.respond, products.respond = STREAM, crash
    async with opened(products, orders, RATE_LIMIT=RATE_LIMIT) as gateway:
        answer = await gateway.request(*line.split())

    assert told(answer) == (status, POLICY, '"default";r=2;t=60')


async def test_without_a_limit_nothing_is_told(products: FakeService, orders: FakeService) -> None:
    orders.respond = ok
    async with opened(products, orders) as gateway:
        answers = [await gateway.get("/orders/1") for _ in range(100)]

    assert {told(answer) for answer in answers} == {(200, None, None)}


async def test_what_the_gateway_itself_answers_is_not_limited(products: FakeService, orders: FakeService) -> None:
    paths = ("/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json")
    async with opened(products, orders, RATE_LIMIT="1/3600") as gateway:
        await gateway.get("/orders/1")
        [limited] = await statuses(gateway, {})
        answers = [await gateway.get(path) for path in paths for _ in range(2)]

    assert limited == 429
    assert {told(answer) for answer in answers} == {(200, None, None)}


async def test_each_key_has_a_bucket_of_its_own_and_so_has_who_has_none(
    products: FakeService, orders: FakeService
) -> None:
    one, other, wrong = make_key(), make_key(), make_key()
    keys = ";".join(entry_of(name, key, [Scope.ORDERS_READ]) for name, key in (("one", one), ("other", other)))
    first, second, unknown = ({"Authorization": f"Bearer {key}"} for key in (one, other, wrong))
    orders.respond = ok
    async with opened(products, orders, RATE_LIMIT="2/3600", API_KEYS=keys) as gateway:
        of_first = await statuses(gateway, first, first, first)
        of_second = await statuses(gateway, second, second, second)
        of_address = await statuses(gateway, unknown, {}, unknown, {})
        of_first_again = await statuses(gateway, first)

    assert of_first == of_second == [200, 200, 429]
    assert of_address == [401, 401, 429, 429]
    assert of_first_again == [429]


@pytest.mark.parametrize("wrong", ["Bearer shop_guess", "Basic Zm9vOmJhcg==", ""])
async def test_guessing_keys_is_limited_too(products: FakeService, orders: FakeService, wrong: str) -> None:
    keys = entry_of("shop", make_key(), [Scope.ORDERS_READ])
    async with opened(products, orders, RATE_LIMIT=RATE_LIMIT, API_KEYS=keys) as gateway:
        answers = [await gateway.get("/orders/1", headers={"Authorization": wrong}) for _ in range(4)]

    assert [told(answer) for answer in answers] == [
        (401, POLICY, '"default";r=2;t=60'),
        (401, POLICY, '"default";r=1;t=120'),
        (401, POLICY, '"default";r=0;t=180'),
        (429, POLICY, '"default";r=0;t=60'),
    ]
    assert orders.seen == []


def through(*hops: str) -> dict[str, str]:
    return {"X-Forwarded-For": ", ".join(hops)}


async def test_a_trusted_proxy_says_who_the_client_is(products: FakeService, orders: FakeService) -> None:
    orders.respond = ok
    async with opened(products, orders, RATE_LIMIT="1/3600", TRUSTED_PROXIES="127.0.0.1,10.0.0.0/8") as gateway:
        of_one = await statuses(gateway, through("192.0.2.1"), through("192.0.2.1"), through("192.0.2.1", "10.1.2.3"))
        of_other = await statuses(gateway, through("192.0.2.2"), through("198.51.100.9", "192.0.2.2"))
        of_site = await statuses(
            gateway, through("2001:db8::1"), through("2001:db8::ffff"), through("2001:db8:0:1::1")
        )
        of_proxy = await statuses(gateway, {}, through("nonsense"))

    assert of_one == [200, 429, 429]
    assert of_other == [200, 429]
    assert of_site == [200, 429, 200]
    assert of_proxy == [200, 429]


@pytest.mark.parametrize("trusted", [{}, {"TRUSTED_PROXIES": "10.0.0.0/8"}], ids=["none", "another"])
async def test_nobody_else_does(products: FakeService, orders: FakeService, trusted: dict[str, str]) -> None:
    """Or everybody would have as many buckets as there are addresses."""
    orders.respond = ok
    async with opened(products, orders, RATE_LIMIT="1/3600", **trusted) as gateway:
        found = await statuses(gateway, *(through(f"192.0.2.{number}") for number in range(3)))

    assert found == [200, 429, 429]


async def test_who_is_refused_is_refused_before_the_body_is_looked_at(
    products: FakeService, orders: FakeService
) -> None:
    async with opened(products, orders, RATE_LIMIT="1/3600") as gateway:
        answers = [await gateway.post("/orders", {"productId": "seven"}) for _ in range(2)]

    assert [answer.status for answer in answers] == [400, 429]
    assert orders.seen == []
