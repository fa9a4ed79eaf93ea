"""The services while a server is down, and afterwards."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from tests.api import Answer, Api
from tests.broker import Vhost
from tests.integration.line import Line
from tests.integration.outages import hung, stopped
from tests.integration.services.verdicts import ORDER
from tests.integration.upstream import FakeService
from tests.waiting import eventually
from tools.stack.parts import Server
from tools.stack.servers import Servers

LAMP = {"name": "Desk lamp", "price": "19.90", "qty": 10}


def outage(answer: Answer) -> tuple[int, str | None, bool]:
    return answer.status, answer.code, int(answer.headers.get("Retry-After", "0")) > 0


async def test_without_redis_the_product_service_answers_the_same(products_api: Api, redis_line: Line) -> None:
    redis_line.cut()

    created = await products_api.post("/products", LAMP)
    found = await products_api.get("/products/1")

    assert (created.status, found.data) == (201, created.data)


async def test_without_redis_orders_are_accepted(
    orders_api: Api, servers: Servers, product_service: FakeService
) -> None:
    async with stopped(servers.orders_redis):
        placed = [await orders_api.post("/orders", ORDER) for _ in range(2)]
        listed = await orders_api.get("/orders/product/7")

    assert [answer.status for answer in placed] == [201, 201]
    assert listed.data == [answer.data for answer in placed[::-1]]
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
async def test_without_their_databases_the_services_are_unavailable_and_recover(
    orders_api: Api,
    products_api: Api,
    servers: Servers,
    outage_of: Callable[[Server], AbstractAsyncContextManager[None]],
) -> None:
    await orders_api.post("/orders", ORDER)

    async with outage_of(servers.postgres):
        refused = [
            await orders_api.post("/orders", ORDER),
            await products_api.post("/products", LAMP),
            await products_api.get("/products"),
            await products_api.get("/products/1"),
        ]

    assert [outage(answer) for answer in refused] == [(503, "unavailable", True)] * 4

    async def both_write_again() -> bool:
        answers = [await orders_api.post("/orders", ORDER), await products_api.post("/products", LAMP)]
        return [answer.status for answer in answers] == [201, 201]

    await eventually(both_write_again)
