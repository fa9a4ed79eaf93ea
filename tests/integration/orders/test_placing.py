import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime

import pytest

from tests.api import Answer, Api
from tests.broker import Vhost, event
from tests.databases import fetch
from tests.integration.line import Line
from tests.integration.outages import hung, stopped
from tests.integration.upstream import FakeService, Respond, envelope, hang, reset, respond_with
from tests.waiting import eventually
from tools.stack.parts import Server
from tools.stack.servers import Servers

ORDER = {"productId": 7, "quantity": 3}
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACE = {"traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01"}


def outage(answer: Answer) -> tuple[int, str | None, bool]:
    return answer.status, answer.code, int(answer.headers.get("Retry-After", "0")) > 0


UNAVAILABLE = (503, "unavailable", True)


async def test_an_order_is_accepted_as_pending_at_the_products_price(orders_api: Api) -> None:
    answer = await orders_api.post("/orders", ORDER, headers=TRACE)

    order = answer.data
    assert (answer.status, answer.headers["Location"]) == (201, "/orders/1")
    assert datetime.fromisoformat(order.pop("createdAt")) == datetime.fromisoformat(order.pop("updatedAt"))
    assert order == {
        "id": 1,
        "productId": 7,
        "quantity": 3,
        "unitPrice": "19.90",
        "totalPrice": "59.70",
        "status": "pending",
        "reason": None,
        "traceId": TRACE_ID,
    }


async def test_what_was_answered_is_what_is_stored(orders_api: Api) -> None:
    placed = await orders_api.post("/orders", ORDER)

    assert (await orders_api.get("/orders/1")).data == placed.data


async def test_an_order_writes_its_history_and_its_event_under_its_trace(
    orders_api: Api, orders_database_url: str, vhost: Vhost
) -> None:
    await orders_api.post("/orders", ORDER, headers=TRACE)

    async def is_published() -> bool:
        return await vhost.depth("products.orders") == 1

    await eventually(is_published)
    [created] = await vhost.take_events("products.orders")
    history = await fetch(orders_database_url, "SELECT order_id, status, reason, trace_id FROM order_history")
    assert history == [(1, "pending", None, TRACE_ID)]
    assert (created["type"], created["traceparent"].split("-")[1]) == ("order.created", TRACE_ID)
    assert created["data"] == {"orderId": 1, "productId": 7, "quantity": 3}


async def test_the_trace_goes_on_to_the_product_service(orders_api: Api, product_service: FakeService) -> None:
    await orders_api.post("/orders", ORDER, headers={**TRACE, "X-Request-ID": "my-request"})

    [asked] = product_service.seen
    assert asked.headers["traceparent"].split("-")[1] == TRACE_ID
    assert asked.headers["X-Request-ID"] == "my-request"


async def test_an_order_of_no_product_is_not_found_and_writes_nothing(
    orders_api: Api, orders_database_url: str
) -> None:
    answer = await orders_api.post("/orders", {"productId": 404, "quantity": 1})

    assert answer.refusal == (404, "not_found", ["productId"])
    assert await fetch(orders_database_url, "SELECT 1 FROM orders UNION ALL SELECT 1 FROM outbox") == []


async def test_a_cached_product_is_not_asked_for_again(orders_api: Api, product_service: FakeService) -> None:
    for _ in range(3):
        await orders_api.post("/orders", ORDER)

    assert [asked.target for asked in product_service.seen] == ["/products/7"]


@pytest.mark.parametrize(
    "respond",
    [
        pytest.param(reset, id="reset"),
        pytest.param(respond_with(200, b"<html>"), id="no JSON"),
        pytest.param(respond_with(200, b'["an array"]'), id="no envelope"),
        pytest.param(respond_with(200, envelope(200, {"id": 7})), id="no price"),
        pytest.param(respond_with(500, envelope(500, None)), id="failed"),
        pytest.param(respond_with(302, b"", {"Location": "/elsewhere"}), id="redirect"),
    ],
)
async def test_an_unknown_product_is_unavailable_while_the_product_service_gives_no_answer(
    orders_api: Api, product_service: FakeService, respond: Respond
) -> None:
    product_service.respond = respond

    assert outage(await orders_api.post("/orders", ORDER)) == UNAVAILABLE


async def test_a_slow_product_service_costs_an_order_two_seconds(
    orders_api: Api, product_service: FakeService
) -> None:
    product_service.respond = hang

    started = time.monotonic()
    answer = await orders_api.post("/orders", ORDER)

    assert outage(answer) == UNAVAILABLE
    assert time.monotonic() - started < 3


async def test_an_order_of_a_cached_product_needs_no_product_service(
    orders_api: Api, product_service: FakeService
) -> None:
    await orders_api.post("/orders", ORDER)
    product_service.respond = reset

    cached = await orders_api.post("/orders", ORDER)
    unknown = await orders_api.post("/orders", {**ORDER, "productId": 8})

    assert cached.status == 201
    assert outage(unknown) == UNAVAILABLE


async def test_a_new_price_counts_from_its_event_on(orders_api: Api, prices: dict[int, str], vhost: Vhost) -> None:
    before = (await orders_api.post("/orders", ORDER)).data
    prices[7] = "25.00"
    await vhost.publish_batch(event("product.updated", {"productId": 7, "name": "Lamp", "price": "25.00"}))

    async def costs_more() -> bool:
        return bool((await orders_api.post("/orders", ORDER)).data["unitPrice"] == "25.00")

    await eventually(costs_more)
    unchanged = (await orders_api.get("/orders/1")).data
    assert before["unitPrice"] == unchanged["unitPrice"] == "19.90"


async def test_two_hundred_orders_at_once_share_transactions_and_none_gets_anothers_answer(
    orders_api: Api, orders_database_url: str
) -> None:
    quantities = range(1, 201)

    answers = await asyncio.gather(
        *(orders_api.post("/orders", {"productId": 8, "quantity": quantity}) for quantity in quantities)
    )

    stored = await fetch(orders_database_url, "SELECT id, quantity, xmin::text FROM orders")
    assert [answer.data["quantity"] for answer in answers] == list(quantities)
    assert {(answer.data["id"], answer.data["quantity"]) for answer in answers} == {(row[0], row[1]) for row in stored}
    assert len({transaction for _, _, transaction in stored}) < 100


async def test_without_redis_orders_are_accepted(
    orders_api: Api, servers: Servers, product_service: FakeService
) -> None:
    async with stopped(servers.orders_redis):
        statuses = [(await orders_api.post("/orders", ORDER)).status for _ in range(2)]

    assert statuses == [201, 201]
    assert len(product_service.seen) == 2


async def test_without_the_broker_orders_are_accepted_and_go_out_when_it_is_back(
    orders_api: Api, broker_line: Line, vhost: Vhost
) -> None:
    broker_line.cut()
    answers = [await orders_api.post("/orders", ORDER) for _ in range(3)]
    broker_line.restore()

    created: list[int] = []

    async def all_are_published() -> bool:
        created.extend(each["data"]["orderId"] for each in await vhost.take_events("products.orders"))
        return len(set(created)) == 3

    assert [answer.status for answer in answers] == [201, 201, 201]
    await eventually(all_are_published)


@pytest.mark.parametrize("outage_of", [stopped, hung])
async def test_without_its_database_it_is_unavailable_within_two_seconds_and_recovers(
    orders_api: Api, servers: Servers, outage_of: Callable[[Server], AbstractAsyncContextManager[None]]
) -> None:
    await orders_api.post("/orders", ORDER)

    async with outage_of(servers.postgres):
        started = time.monotonic()
        refused = outage(await orders_api.post("/orders", ORDER))
        lasted = time.monotonic() - started

    assert refused == UNAVAILABLE
    assert lasted < 2.2
    assert (await orders_api.post("/orders", ORDER)).status == 201


async def test_past_a_million_events_that_wait_orders_are_refused_for_a_while(
    orders_api: Api, orders_database_url: str, broker_line: Line
) -> None:
    broker_line.cut()
    await fetch(
        orders_database_url,
        """
        INSERT INTO outbox (type, payload, created_at)
        SELECT 'order.created', '{}', now() FROM generate_series(1, 1000001)
        """,
    )

    async def is_refused() -> bool:
        return (await orders_api.post("/orders", ORDER)).status == 503

    await eventually(is_refused)
    answer = await orders_api.post("/orders", ORDER)
    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "unavailable", "10")
