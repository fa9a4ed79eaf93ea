from tests.api import Api
from tests.broker import Vhost
from tests.databases import fetch
from tests.integration.orders.verdicts import PRODUCTS_TRACE_ID, becomes, verdict
from tests.waiting import eventually

ORDER = {"productId": 7, "quantity": 3}


async def history(url: str) -> list[tuple[int, str, str | None, str]]:
    return await fetch(
        url, "SELECT order_id, status, reason, trace_id FROM order_history WHERE status <> 'pending' ORDER BY order_id"
    )


async def test_orders_become_what_the_product_service_decided(
    orders_api: Api, vhost: Vhost, orders_database_url: str
) -> None:
    for _ in range(2):
        await orders_api.post("/orders", ORDER)

    await vhost.publish_batch(verdict(2, "rejected", "insufficient_stock"), verdict(1, "done"))

    await becomes(orders_api, 1, "done")
    await becomes(orders_api, 2, "rejected")
    assert (await orders_api.get("/orders/2")).data["reason"] == "insufficient_stock"
    assert await history(orders_database_url) == [
        (1, "done", None, PRODUCTS_TRACE_ID),
        (2, "rejected", "insufficient_stock", PRODUCTS_TRACE_ID),
    ]


async def test_a_verdict_that_comes_again_changes_nothing(
    orders_api: Api, vhost: Vhost, orders_database_url: str
) -> None:
    for _ in range(2):
        await orders_api.post("/orders", ORDER)
    await vhost.publish_batch(verdict(1, "done"))
    await becomes(orders_api, 1, "done")
    decided = (await orders_api.get("/orders/1")).data

    await vhost.publish_batch(verdict(1, "done"), verdict(1, "rejected", "insufficient_stock"), verdict(2, "done"))
    await becomes(orders_api, 2, "done")

    assert (await orders_api.get("/orders/1")).data == decided
    assert [(order_id, status) for order_id, status, *_ in await history(orders_database_url)] == [
        (1, "done"),
        (2, "done"),
    ]


async def test_of_two_verdicts_in_one_batch_the_first_counts(orders_api: Api, vhost: Vhost) -> None:
    await orders_api.post("/orders", ORDER)

    await vhost.publish_batch(verdict(1, "rejected", "insufficient_stock"), verdict(1, "done"))

    await becomes(orders_api, 1, "rejected")


async def test_a_verdict_that_comes_too_late_changes_nothing(
    orders_api: Api, vhost: Vhost, orders_database_url: str
) -> None:
    for _ in range(2):
        await orders_api.post("/orders", ORDER)
    await fetch(orders_database_url, "UPDATE orders SET status = 'cancelled' WHERE id = 1")

    await vhost.publish_batch(verdict(1, "done"), verdict(2, "done"))
    await becomes(orders_api, 2, "done")

    assert (await orders_api.get("/orders/1")).data["status"] == "cancelled"
    assert [order_id for order_id, *_ in await history(orders_database_url)] == [2]


async def test_a_verdict_on_an_unknown_order_harms_no_other(orders_api: Api, vhost: Vhost) -> None:
    await orders_api.post("/orders", ORDER)

    await vhost.publish_batch(verdict(404, "done"), verdict(1, "done"))

    await becomes(orders_api, 1, "done")
    assert await vhost.depth("orders.stock.dead") == 0


async def test_a_verdict_shows_in_the_cached_list(orders_api: Api, vhost: Vhost) -> None:
    await orders_api.post("/orders", ORDER)
    before = await orders_api.get("/orders/product/7")

    await vhost.publish_batch(verdict(1, "done"))

    async def is_shown() -> bool:
        return [order["status"] for order in (await orders_api.get("/orders/product/7")).data] == ["done"]

    await eventually(is_shown)
    assert [order["status"] for order in before.data] == ["pending"]
