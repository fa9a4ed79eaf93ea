import asyncio
from typing import Any

from tests.api import Answer, Api
from tests.broker import Vhost
from tests.databases import fetch
from tests.integration.orders.verdicts import PRODUCTS_TRACE_ID, becomes, verdict
from tests.waiting import eventually

ORDER = {"productId": 7, "quantity": 3}
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACE = {"traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01"}


async def cancel(api: Api, order_id: int = 1) -> Answer:
    """As a client does it, without a body."""
    return await api.request("POST", f"/orders/{order_id}/cancel", headers=TRACE)


async def statuses(api: Api, order_id: int = 1) -> list[str]:
    return [entry["status"] for entry in (await api.get(f"/orders/{order_id}/history")).data]


async def published(vhost: Vhost, count: int) -> list[dict[str, Any]]:
    """The next events of orders, once there are so many."""
    events: list[dict[str, Any]] = []

    async def all_are_there() -> bool:
        events.extend(await vhost.take_events("products.orders"))
        return len(events) >= count

    await eventually(all_are_there)
    return events


async def test_a_pending_order_is_cancelled(orders_api: Api) -> None:
    placed = (await orders_api.post("/orders", ORDER)).data

    cancelled = await cancel(orders_api)

    assert cancelled.status == 200
    assert cancelled.data == {**placed, "status": "cancelled", "updatedAt": cancelled.data["updatedAt"]}
    assert cancelled.data["updatedAt"] > placed["updatedAt"]
    assert (await orders_api.get("/orders/1")).data == cancelled.data


async def test_an_order_that_is_done_is_cancelled_and_its_history_tells_all(orders_api: Api, vhost: Vhost) -> None:
    placed = await orders_api.post("/orders", ORDER)
    await vhost.publish_batch(verdict(1, "done"))
    await becomes(orders_api, 1, "done")

    cancelled = await cancel(orders_api)

    entries = (await orders_api.get("/orders/1/history")).data
    times = [entry.pop("createdAt") for entry in entries]
    assert entries == [
        {"status": "pending", "reason": None, "traceId": placed.data["traceId"]},
        {"status": "done", "reason": None, "traceId": PRODUCTS_TRACE_ID},
        {"status": "cancelled", "reason": None, "traceId": TRACE_ID},
    ]
    assert times == sorted(times)
    assert (times[0], times[-1]) == (placed.data["createdAt"], cancelled.data["updatedAt"])


async def test_a_rejected_order_cannot_be_cancelled(orders_api: Api, vhost: Vhost) -> None:
    await orders_api.post("/orders", ORDER)
    await vhost.publish_batch(verdict(1, "rejected", "insufficient_stock"))
    await becomes(orders_api, 1, "rejected")
    before = (await orders_api.get("/orders/1")).data

    refused = await cancel(orders_api)

    assert refused.refusal == (409, "conflict", [])
    assert (await orders_api.get("/orders/1")).data == before
    assert await statuses(orders_api) == ["pending", "rejected"]


async def test_an_unknown_order_cannot_be_cancelled_and_has_no_history(
    orders_api: Api, orders_database_url: str
) -> None:
    answers = [await cancel(orders_api, 404), await orders_api.get("/orders/404/history")]

    assert [answer.refusal for answer in answers] == [(404, "not_found", [])] * 2
    assert await fetch(orders_database_url, "SELECT 1 FROM order_history UNION ALL SELECT 1 FROM outbox") == []


async def test_an_order_is_cancelled_once_however_often_and_announced_with_the_trace(
    orders_api: Api, vhost: Vhost
) -> None:
    for _ in range(2):
        await orders_api.post("/orders", ORDER)

    at_once = await asyncio.gather(*(cancel(orders_api) for _ in range(20)))
    again = await cancel(orders_api)
    await cancel(orders_api, 2)

    assert {answer.status for answer in (*at_once, again)} == {200}
    assert [answer.data for answer in at_once] == [again.data] * 20
    assert await statuses(orders_api) == ["pending", "cancelled"]
    events = [each for each in await published(vhost, 4) if each["type"] == "order.cancelled"]
    assert [each["data"] for each in events] == [{"orderId": n, "productId": 7, "quantity": 3} for n in (1, 2)]
    assert [each["traceparent"].split("-")[1] for each in events] == [TRACE_ID] * 2


async def test_a_verdict_that_comes_after_the_cancellation_changes_nothing(orders_api: Api, vhost: Vhost) -> None:
    for _ in range(2):
        await orders_api.post("/orders", ORDER)
    cancelled = await cancel(orders_api)

    await vhost.publish_batch(verdict(1, "done"), verdict(1, "rejected", "insufficient_stock"), verdict(2, "done"))
    await becomes(orders_api, 2, "done")

    assert (await orders_api.get("/orders/1")).data == cancelled.data
    assert await statuses(orders_api) == ["pending", "cancelled"]


async def test_a_cancellation_shows_at_once_in_the_cached_list(orders_api: Api) -> None:
    seen = []
    for order_id in range(1, 11):
        await orders_api.post("/orders", ORDER)
        before = await orders_api.get("/orders/product/7")
        await cancel(orders_api, order_id)
        after = await orders_api.get("/orders/product/7")
        seen.append([before.data[0]["status"], after.data[0]["status"]])

    assert seen == [["pending", "cancelled"]] * 10
