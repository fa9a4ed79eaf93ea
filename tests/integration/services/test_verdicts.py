"""How orders end: by the product service's verdict, or by a cancellation."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from tests.api import Answer, Api
from tests.broker import Vhost, headers
from tests.databases import as_admin, fetch
from tests.integration.services.verdicts import (
    ORDER,
    PRODUCT_UID,
    PRODUCTS_TRACE_ID,
    announced,
    becomes,
    status_of,
    verdict,
)
from tests.traces import TRACE, TRACE_ID, traceparent
from tests.waiting import reaches
from tools.stack.servers import Servers

NO_STOCK = "insufficient_stock"
CANCEL_AS_BEFORE = """
WITH changed AS (
    UPDATE orders SET status = 'cancelled', reason = NULL, updated_at = now() WHERE id = 1 RETURNING id, status
)
INSERT INTO order_history (order_id, status, trace_id) SELECT id, status, $1 FROM changed
"""


async def cancel(api: Api, order_id: int = 1) -> Answer:
    """Cancels an order as a client does it, without a body."""
    return await api.request("POST", f"/orders/{order_id}/cancel", headers=TRACE)


async def place(api: Api, orders: int) -> list[dict[str, Any]]:
    return [(await api.post("/orders", ORDER)).data for _ in range(orders)]


async def history(api: Api, order_id: int = 1) -> list[tuple[str, str | None, str]]:
    """Status, reason and trace of each entry."""
    entries = (await api.get(f"/orders/{order_id}/history")).data
    assert [entry["createdAt"] for entry in entries] == sorted(entry["createdAt"] for entry in entries)
    return [(entry["status"], entry["reason"], entry["traceId"]) for entry in entries]


async def test_orders_become_what_the_product_service_decided_once(orders_api: Api, vhost: Vhost) -> None:
    """Later verdicts on the same order, in the same batch or another, and on an unknown order change nothing."""
    placed = await place(orders_api, 3)
    await vhost.publish_batch(
        verdict(2, "rejected", NO_STOCK), verdict(404, "done"), verdict(2, "done"), verdict(1, "done")
    )
    await becomes(orders_api, 1, "done")
    decided = [(await orders_api.get(f"/orders/{order_id}")).data for order_id in (1, 2)]
    await vhost.publish_batch(verdict(1, "done"), verdict(1, "rejected", NO_STOCK), verdict(3, "done"))
    await becomes(orders_api, 3, "done")

    assert [(order["status"], order["reason"]) for order in decided] == [("done", None), ("rejected", NO_STOCK)]
    assert [(await orders_api.get(f"/orders/{order_id}")).data for order_id in (1, 2)] == decided
    assert all(order["updatedAt"] > order["createdAt"] for order in decided)
    pending = ("pending", None, placed[0]["traceId"])
    assert await history(orders_api, 1) == [pending, ("done", None, PRODUCTS_TRACE_ID)]
    pending = ("pending", None, placed[1]["traceId"])
    assert await history(orders_api, 2) == [pending, ("rejected", NO_STOCK, PRODUCTS_TRACE_ID)]
    assert await vhost.depth("orders.stock.dead") == 0


@pytest.mark.parametrize(
    "lost", [{"orderUid": str(uuid4())}, {"productId": 8}], ids=["another identity", "another product"]
)
async def test_a_verdict_on_a_lost_order_does_not_decide_the_one_that_has_its_number_now(
    orders_api: Api, orders_database_url: str, vhost: Vhost, lost: dict[str, Any]
) -> None:
    await place(orders_api, 2)
    uids = dict(await fetch(orders_database_url, "SELECT id, uid::text FROM orders"))

    await vhost.publish_batch(verdict(1, "done", **lost), verdict(2, "done", orderUid=uids[2]))

    await becomes(orders_api, 2, "done")
    await reaches(lambda: vhost.depth("orders.stock.dead"), 1)
    [letter] = await vhost.take("orders.stock.dead")
    assert headers(letter)["x-error"] == "AppError: Another order has this number"
    assert await status_of(orders_api, 1) == "pending"
    await vhost.publish_batch(verdict(1, "rejected", NO_STOCK, **lost), verdict(1, "done", orderUid=uids[1]))
    await becomes(orders_api, 1, "done")


async def test_pending_and_done_orders_are_cancelled_whatever_verdict_follows(orders_api: Api, vhost: Vhost) -> None:
    placed = await place(orders_api, 3)
    await vhost.publish_batch(verdict(2, "done"))
    await becomes(orders_api, 2, "done")

    cancelled = [await cancel(orders_api, order_id) for order_id in (1, 2)]
    await vhost.publish_batch(verdict(1, "done"), verdict(1, "rejected", NO_STOCK), verdict(3, "done"))
    await becomes(orders_api, 3, "done")

    for order, answer in zip(placed, cancelled, strict=False):
        assert answer.status == 200
        assert answer.data == {**order, "status": "cancelled", "updatedAt": answer.data["updatedAt"]}
        assert answer.data["updatedAt"] > order["updatedAt"]
        assert (await orders_api.get(f"/orders/{order['id']}")).data == answer.data
    (first, second), end = [("pending", None, order["traceId"]) for order in placed[:2]], ("cancelled", None, TRACE_ID)
    assert await history(orders_api, 1) == [first, end]
    assert await history(orders_api, 2) == [second, ("done", None, PRODUCTS_TRACE_ID), end]
    entries = (await orders_api.get("/orders/2/history")).data
    times = entries[0]["createdAt"], entries[-1]["createdAt"]
    assert times == (placed[1]["createdAt"], cancelled[1].data["updatedAt"])


async def test_what_an_order_tells_is_stored_once_it_tells_something_else(
    orders_api: Api, orders_database_url: str, vhost: Vhost
) -> None:
    """A verdict under the trace of its order, and then a cancellation by the release before, which stores it all."""
    [placed] = await place(orders_api, 1)
    await vhost.publish_batch({**verdict(1, "done"), "traceparent": traceparent(placed["traceId"])})
    await becomes(orders_api, 1, "done")
    before = await orders_api.data("/orders/1/history")
    stored = await fetch(orders_database_url, "SELECT FROM order_entries")
    await fetch(orders_database_url, CANCEL_AS_BEFORE, TRACE_ID)

    assert ([entry["status"] for entry in before], stored) == (["pending", "done"], [])
    [*kept, last] = await orders_api.data("/orders/1/history")
    assert (kept, last["status"], last["traceId"]) == (before, "cancelled", TRACE_ID)


async def test_a_rejected_order_cannot_be_cancelled(orders_api: Api, orders_database_url: str, vhost: Vhost) -> None:
    await place(orders_api, 1)
    await vhost.publish_batch(verdict(1, "rejected", NO_STOCK))
    await becomes(orders_api, 1, "rejected")
    before = (await orders_api.get("/orders/1")).data

    answers = [await cancel(orders_api), await cancel(orders_api, 404), await orders_api.get("/orders/404/history")]

    assert [answer.refusal for answer in answers] == [(409, "conflict", []), *[(404, "not_found", [])] * 2]
    assert (await orders_api.get("/orders/1")).data == before
    assert [status for status, *_ in await history(orders_api)] == ["pending", "rejected"]
    assert await fetch(orders_database_url, "SELECT 1 FROM outbox WHERE type = 'order.cancelled'") == []


async def test_an_order_is_cancelled_once_however_often_and_announced(
    orders_api: Api, orders_database_url: str, vhost: Vhost
) -> None:
    await place(orders_api, 2)

    at_once = await asyncio.gather(*(cancel(orders_api) for _ in range(20)))
    again = await cancel(orders_api)
    await cancel(orders_api, 2)

    assert {answer.status for answer in (*at_once, again)} == {200}
    assert [answer.data for answer in at_once] == [again.data] * 20
    assert [status for status, *_ in await history(orders_api)] == ["pending", "cancelled"]
    cancellations = [each for each in await announced(vhost, 4) if each["type"] == "order.cancelled"]
    uids = dict(await fetch(orders_database_url, "SELECT id, uid::text FROM orders"))
    assert [each["data"] for each in cancellations] == [
        {**ORDER, "orderId": order_id, "orderUid": uids[order_id], "productUid": PRODUCT_UID} for order_id in (1, 2)
    ]
    assert [each["traceparent"].split("-")[1] for each in cancellations] == [TRACE_ID] * 2


async def test_of_a_newer_release_a_reason_is_passed_on_and_a_status_is_parked(orders_api: Api, vhost: Vhost) -> None:
    await place(orders_api, 3)

    await vhost.publish_batch(
        verdict(1, "shipped"), verdict(2, "rejected", "out_of_season"), verdict(3, "done", later={"any": "thing"})
    )
    no_text: Any = ["shipped"]
    await vhost.publish_batch(verdict(0, "shipped"), verdict(1, no_text))

    await becomes(orders_api, 3, "done")
    assert (await orders_api.data("/orders/2"))["reason"] == "out_of_season"
    await reaches(lambda: vhost.depth("orders.stock.dead"), 2)  # an event that is wrong besides is not a newer one
    [parked] = await vhost.take_events("orders.stock.parked")
    assert (parked["data"]["orderId"], parked["data"]["status"]) == (1, "shipped")


async def test_an_order_that_a_newer_release_has_changed_is_shown_by_every_route(
    orders_api: Api, orders_database_url: str, vhost: Vhost, servers: Servers
) -> None:
    await orders_api.post("/orders", {**ORDER, "customerId": "Zoe", "reference": "A-1"})
    for statement in (
        "ALTER TABLE orders DROP CONSTRAINT orders_known_status",
        "UPDATE orders SET status = 'shipped', reason = 'early'",
        "INSERT INTO order_history (order_id, status, reason) VALUES (1, 'shipped', 'early')",
        "INSERT INTO order_history (order_id, status, created_at) VALUES (1, 'done', now() + '1 s')",
    ):
        await fetch(as_admin(servers.postgres, orders_database_url), statement)
    await vhost.publish_batch(verdict(1, "done"))

    selections = ("productId=7", "customerId=Zoe", "reference=A-1", "limit=1")
    lists = [f"/orders?{each}" for each in selections] + ["/orders/product/7", "/orders/product/7?limit=1"]
    shown = [await orders_api.data("/orders/1?wait=30"), *[(await orders_api.data(path))[0] for path in lists]]
    changed = await orders_api.request("PATCH", "/orders/1", json={"metadata": {"channel": "app"}})
    actions = [await orders_api.post(f"/orders/1/{each}", None) for each in ("cancel", "confirm")]
    actions.append(await orders_api.post("/orders/1/hold", {"holdSeconds": 10}))

    assert {(order["status"], order["reason"]) for order in (*shown, changed.data)} == {("shipped", "early")}
    assert [status for status, *_ in await history(orders_api)] == ["pending", "shipped", "done"]
    assert [answer.refusal for answer in actions] == [(409, "conflict", [])] * 3
    assert (await orders_api.get("/orders?status=shipped")).refusal == (400, "validation_error", ["status"])
