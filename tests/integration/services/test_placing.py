import asyncio
from decimal import Decimal
from uuid import uuid4

import asyncpg
import pytest
from aiohttp import ClientTimeout

from orders import repository
from orders.domain import Draft, Terms
from orders.products import Products
from shared.cache import Cache
from shared.db import Database
from shared.errors import AppError, Code
from shared.idempotency import Key
from shared.messaging import outbox
from shared.pagination import MAX_ID
from shared.tasks import BackgroundTasks
from shared.web.client import service_clients
from tests.api import Api
from tests.broker import Vhost, event
from tests.databases import fetch
from tests.integration.line import Line
from tests.integration.services.verdicts import ORDER, PRODUCT_UID
from tests.integration.upstream import FakeService, Respond, envelope, hang, reset, respond_with
from tests.traces import TRACE, TRACE_ID
from tests.waiting import reaches

ASKED = {**TRACE, "X-Request-ID": "my-request"}
UNAVAILABLE = (503, "unavailable")


async def test_an_order_is_accepted_as_pending_at_the_products_price_and_written_under_its_trace(
    orders_api: Api, orders_database_url: str, product_service: FakeService, vhost: Vhost
) -> None:
    answer = await orders_api.post("/orders", ORDER, headers=ASKED)

    expected = {"id": 1, "unitPrice": "19.90", "totalPrice": "59.70", "status": "pending", "traceId": TRACE_ID}
    assert (answer.status, answer.headers["Location"]) == (201, "/orders/1")
    assert {**ORDER, **expected}.items() <= answer.data.items()
    assert (await orders_api.get("/orders/1")).data == answer.data
    [asked] = product_service.seen
    assert asked.headers["traceparent"].split("-")[1] == TRACE_ID
    assert asked.headers["X-Request-ID"] == "my-request"
    await reaches(lambda: vhost.depth("products.orders"), 1)
    [created] = await vhost.take_events("products.orders")
    assert (created["type"], created["traceparent"].split("-")[1]) == ("order.created", TRACE_ID)
    [(uid,)] = await fetch(orders_database_url, "SELECT uid::text FROM orders")
    assert created["data"] == {**ORDER, "orderId": 1, "orderUid": uid, "productUid": PRODUCT_UID}
    history = await fetch(orders_database_url, "SELECT order_id, status, reason, trace_id FROM order_history")
    assert history == [(1, "pending", None, TRACE_ID)]


async def test_an_order_of_an_unknown_product_is_not_written(orders_api: Api, orders_database_url: str) -> None:
    answer = await orders_api.post("/orders", {"productId": 404, "quantity": 1})

    assert answer.refusal == (404, "not_found", ["productId"])
    assert (await orders_api.get("/orders/1")).refusal == (404, "not_found", [])
    assert await fetch(orders_database_url, "SELECT 1 FROM orders UNION ALL SELECT 1 FROM outbox") == []


@pytest.mark.parametrize(
    "respond",
    [
        pytest.param(reset, id="reset"),
        pytest.param(hang, id="hang"),
        pytest.param(respond_with(200, b"<html>"), id="no JSON"),
        pytest.param(respond_with(200, b'["an array"]'), id="no envelope"),
        pytest.param(respond_with(200, envelope(200, {"id": 7, "name": "Lamp"})), id="no price"),
        pytest.param(
            respond_with(200, envelope(200, {"id": 7, "name": "Lamp", "price": "?"})), id="price is no number"
        ),
        pytest.param(respond_with(200, envelope(200, {"id": 8, "name": "Lamp", "price": "1"})), id="another product"),
        pytest.param(respond_with(404, envelope(404, None, error={"code": "other"})), id="another 404"),
        pytest.param(respond_with(500, envelope(500, {"id": 7, "name": "Lamp", "price": "1.00"})), id="failed"),
        pytest.param(respond_with(302, b"{}", {"Location": "/elsewhere"}), id="redirect"),
    ],
)
async def test_a_product_cannot_be_checked_while_the_product_service_gives_no_answer(
    cache: Cache, tasks: BackgroundTasks, product_service: FakeService, respond: Respond
) -> None:
    product_service.respond = respond
    async with service_clients(ClientTimeout(total=0.5, connect=0.5)) as client:
        products = Products(cache, client("products", product_service.url))

        with pytest.raises(AppError) as refusal:
            await products.find([7])

    assert refusal.value.code is Code.UNAVAILABLE


async def test_a_new_price_counts_for_new_orders_only(orders_api: Api, prices: dict[int, str], vhost: Vhost) -> None:
    before = (await orders_api.post("/orders", ORDER)).data
    prices[7] = "25.00"
    cached = (await orders_api.post("/orders", ORDER)).data
    await vhost.publish_batch(event("product.updated", {"productId": 7, "name": "Lamp", "price": "25.00"}))

    async def price() -> object:
        return (await orders_api.post("/orders", ORDER)).data["unitPrice"]

    await reaches(price, "25.00")
    unchanged = (await orders_api.get("/orders/1")).data
    assert before["unitPrice"] == cached["unitPrice"] == unchanged["unitPrice"] == "19.90"


async def test_a_price_that_the_customer_has_not_seen_refuses_the_order(
    orders_api: Api, orders_database_url: str, prices: dict[int, str]
) -> None:
    await orders_api.post("/orders", ORDER)  # the price is cached
    prices[7] = "25.00"

    refused = await orders_api.post("/orders", {**ORDER, "unitPrice": "19.90"})
    unknown = await orders_api.post("/orders", {"productId": 404, "quantity": 1, "unitPrice": 1})
    taken = [await orders_api.post("/orders", {**ORDER, "unitPrice": seen}) for seen in (25, "25.0")]

    assert refused.refusal == (409, "price_changed", ["unitPrice"])
    assert refused.body["error"]["details"][0]["message"] == "The price is 25.00."
    assert unknown.refusal == (404, "not_found", ["productId"])
    assert [(answer.status, answer.data["unitPrice"]) for answer in taken] == [(201, "25.00")] * 2
    assert await fetch(orders_database_url, "SELECT count(*) FROM orders") == [(3,)]


async def test_orders_at_once_share_transactions_and_are_answered(orders_api: Api, orders_database_url: str) -> None:
    quantities = range(1, 101)

    async def place(quantity: int) -> tuple[int, int, str | None]:
        headers = {"Idempotency-Key": f"key-{quantity}"} if quantity % 2 else {}
        answer = await orders_api.post("/orders", {"productId": 8, "quantity": quantity}, headers=headers)
        return answer.data["id"], answer.data["quantity"], headers.get("Idempotency-Key")

    placed = await asyncio.gather(*map(place, quantities))

    stored = await fetch(orders_database_url, "SELECT id, quantity, idempotency_key, xmin::text FROM orders")
    assert [quantity for _, quantity, _ in placed] == list(quantities)
    assert set(placed) == {row[:3] for row in stored}
    assert len({transaction for *_, transaction in stored}) < 60


async def test_past_a_million_events_that_wait_orders_are_refused_until_they_have_left(
    orders_api: Api, orders_database_url: str, broker_line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert outbox.MOST_ROWS == 1_000_000
    monkeypatch.setattr(outbox, "MOST_ROWS", 3)
    broker_line.cut()
    await fetch(
        orders_database_url,
        "INSERT INTO outbox (type, payload) SELECT 'order.created', '{}' FROM generate_series(1, 3)",
    )

    async def status() -> int:
        return (await orders_api.post("/orders", ORDER)).status

    assert await status() == 201
    await reaches(status, 503)
    answer = await orders_api.post("/orders", ORDER)
    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (*UNAVAILABLE, "10")
    broker_line.restore()
    await reaches(status, 201)


def draft(key: str | None = None, reference: str | None = None) -> Draft:
    trace_id, keyed, terms = "a" * 32, Key(key, b"hash") if key else None, Terms(reference=reference)
    return Draft(
        str(uuid4()), 7, None, 1, Decimal(1), Decimal(1), None, trace_id, f"00-{trace_id}-{'b' * 16}-01", terms, keyed
    )


async def place(database: Database, drafts: list[Draft]) -> list[int | None]:
    async with database.connection(10) as connection:
        return [order.id if order else None for order in await repository.place(connection, drafts)]


@pytest.mark.parametrize("name", ["key", "reference"])
async def test_a_batch_places_each_key_and_reference_once_and_in_order(
    orders_database: Database, orders_database_url: str, name: str
) -> None:
    first, second = [
        await place(orders_database, [draft(**{name: value} if value else {}) for value in ("b", "", "a", "b", "")])
        for _ in range(2)
    ]

    assert [order_id is None for order_id in first] == [False, False, False, True, False]
    assert [order_id is None for order_id in second] == [True, False, True, True, False]
    placed = [order_id for order_id in (*first, *second) if order_id]
    assert placed == sorted(placed)
    for written in (
        "SELECT id FROM orders",
        "SELECT order_id FROM order_history",
        "SELECT (payload->>'orderId')::int FROM outbox",
    ):
        assert sorted(await fetch(orders_database_url, written)) == [(order_id,) for order_id in placed]


async def test_orders_that_are_placed_again_are_found_unless_another_has_their_key(orders_database: Database) -> None:
    """A first attempt that arrives after its second one writes nothing."""
    drafts = [draft(), draft("a"), draft("taken"), draft()]
    first = await place(orders_database, [draft("taken"), *drafts[:2]])

    async with orders_database.transaction() as connection:
        again = await repository.place_again(connection, drafts)
    with pytest.raises(asyncpg.UniqueViolationError):
        await place(orders_database, drafts)

    assert [order and order.id for order in again[:3]] == [*first[1:], None]
    async with orders_database.connection() as connection:
        stored = await repository.page(connection, MAX_ID, 9)
    assert [order.id for order in stored] == [order.id for order in again if order][-1:] + first[::-1]


@pytest.mark.parametrize("shared", ["keys", "references"])
async def test_batches_that_share_keys_or_references_do_not_deadlock(
    orders_database: Database, orders_database_url: str, shared: str
) -> None:
    """In the order in which keys are written, the references of the second batch go backwards."""
    for number in range(3):
        names = [f"{number}-{n:03}" for n in range(1000)]
        if shared == "keys":
            batches = [[draft(name) for name in each] for each in (names, names[::-1])]
        else:
            batches = [
                [draft(f"{batch}{name}", reference) for name, reference in zip(names, references, strict=True)]
                for batch, references in (("a", names), ("b", names[::-1]))
            ]
        outcomes = await asyncio.gather(*(place(orders_database, each) for each in batches), return_exceptions=True)
        causes = [outcome.__cause__ for outcome in outcomes if isinstance(outcome, BaseException)]
        assert not any(isinstance(cause, asyncpg.DeadlockDetectedError) for cause in causes)
    found = await fetch(orders_database_url, "SELECT count(*), count(DISTINCT idempotency_key) FROM orders")
    assert found == [(3000, 3000)]
