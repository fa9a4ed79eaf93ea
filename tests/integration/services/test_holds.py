"""Orders that hold their stock until they are confirmed or cancelled, or expire."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import pytest
from redis.asyncio import Redis

from orders.app import create_app
from orders.handlers import ORDERS
from orders.service import Orders
from orders.settings import Settings
from shared.errors import AppError
from tests.api import Answer, Api, connect, serve
from tests.broker import Vhost
from tests.databases import fetch, locked
from tests.events import following
from tests.integration.conftest import is_up, running
from tests.integration.services.verdicts import announced, becomes, status_of, verdict
from tests.traces import TRACE, TRACE_ID
from tests.waiting import eventually, reaches

LIMIT = 12.0
WEEK = 7 * 24 * 3600
LINES = [{"productId": 7, "quantity": 2}, {"productId": 8, "quantity": 1}]
Told: TypeAlias = tuple[int, str, str | None]

PUT = """
WITH placed AS (
    INSERT INTO orders (uid, product_id, quantity, unit_price, total_price, trace_id, status, created_at, expires_at)
    SELECT gen_random_uuid(), 7, 1, 1, 1, repeat('a', 32), $1, now() - interval '1 day',
           now() + ($2::float8 + $4::float8 * n / $3) * interval '1 second'
    FROM generate_series(1, $3::integer) AS n
    RETURNING id, status
), noted AS (
    INSERT INTO order_history (order_id, status)
    SELECT id, 'pending' FROM placed UNION ALL SELECT id, status FROM placed WHERE status <> 'pending'
)
SELECT id FROM placed ORDER BY id
"""
HISTORIES = "SELECT order_id, array_agg(status) FROM order_history GROUP BY order_id"
ENDING_SOON = "SELECT FROM orders WHERE expires_at BETWEEN now() AND now() + interval '1 min'"


@asynccontextmanager
async def replica(settings: Settings) -> AsyncIterator[tuple[Api, Orders]]:
    app = create_app(settings)
    async with running(app) as api:
        yield api, app[ORDERS]


async def put(url: str, status: str, left: float | None, orders: int, spread: float = 0.0) -> list[int]:
    """Writes orders that a day ago were placed; their holds end in `left` to `left + spread` seconds."""
    return [order_id for (order_id,) in await fetch(url, PUT, status, left, orders, spread)]


def told(answer: Answer) -> Told:
    return answer.status, answer.code or answer.data["status"], answer.headers.get("Retry-After")


def kinds(events: Iterable[dict[str, Any]]) -> Counter[tuple[str, int]]:
    """Type and order of each event."""
    return Counter((event["type"], event["data"]["orderId"]) for event in events)


UNAVAILABLE = (503, "unavailable", "1")
CANCELLED, DONE, HELD = (200, "cancelled", None), (200, "done", None), (200, "held", None)
EXPIRED, CONFLICT, LATER = (409, "expired", None), (409, "conflict", None), (409, "conflict", "1")


@pytest.mark.usefixtures("never_polling")
@pytest.mark.parametrize(
    ("status", "left", "confirmed", "extended", "cancelled", "at_last"),
    [
        ("pending", 60, LATER, LATER, CANCELLED, "pending"),
        ("pending", -60, LATER, LATER, CANCELLED, "pending"),
        ("held", 60, DONE, HELD, CANCELLED, "held"),
        ("held", -0.001, EXPIRED, EXPIRED, EXPIRED, "expired"),
        ("done", 60, DONE, CONFLICT, CANCELLED, "done"),
        ("done", -60, DONE, CONFLICT, CANCELLED, "done"),
        ("rejected", 60, CONFLICT, CONFLICT, CONFLICT, "rejected"),
        ("cancelled", 60, CONFLICT, CONFLICT, CANCELLED, "cancelled"),
        ("expired", -60, EXPIRED, EXPIRED, EXPIRED, "expired"),
        ("pending", None, CONFLICT, CONFLICT, CANCELLED, "pending"),
        ("done", None, CONFLICT, CONFLICT, CANCELLED, "done"),
    ],
)
async def test_what_may_be_done_with_an_order_and_what_a_client_is_told_if_not(
    *,
    orders_settings: Settings,
    orders_database_url: str,
    orders_redis: Redis,
    status: str,
    left: float | None,
    confirmed: Told,
    extended: Told,
    cancelled: Told,
    at_last: str,
) -> None:
    """A negative time `left` is a hold that is over, which nothing has found yet."""
    steps = {"confirm": (None, confirmed), "hold": ({"holdSeconds": 60}, extended), "cancel": (None, cancelled)}
    async with replica(orders_settings) as (api, orders):
        ids = await put(orders_database_url, status, left, 4)
        for order_id, (step, (content, expected)) in zip(ids, steps.items(), strict=False):
            before = await api.data(f"/orders/{order_id}")
            answers = [await api.post(f"/orders/{order_id}/{step}", content) for _ in range(2)]
            after = await api.data(f"/orders/{order_id}")

            assert [told(answer) for answer in answers] == [expected] * 2
            now = {"status": "expired" if expected == EXPIRED else status, "updatedAt": after["updatedAt"]}
            assert after == (answers[-1].data if expected[0] == 200 else {**before, **now})
            if expected[1] == "conflict":
                message = answers[0].body["error"]["message"]
                assert status in message
                assert ("without a hold" in message) is (left is None)
        await orders.expire()
        assert await status_of(api, ids[-1]) == at_last
        unknown = [await api.post(f"/orders/404/{step}", content) for step, (content, _) in steps.items()]
    assert [answer.refusal for answer in unknown] == [(404, "not_found", [])] * 3


async def test_a_hold_ends_so_long_after_the_last_word_but_within_a_week_of_its_making(
    orders_api: Api, orders_database_url: str
) -> None:
    [order_id] = await put(orders_database_url, "held", 60, 1)
    path = f"/orders/{order_id}/hold"

    answers = [await orders_api.post(path, {"holdSeconds": most}) for most in (WEEK, WEEK - 86_399, WEEK - 86_460, 30)]
    [(left, history)] = await fetch(
        orders_database_url,
        "SELECT extract(epoch FROM expires_at - now())::float8, (SELECT count(*) FROM order_history) FROM orders",
    )
    shown = (await orders_api.data("/orders/product/7"))[0]

    assert [answer.refusal for answer in answers[:2]] == [(400, "validation_error", ["holdSeconds"])] * 2
    assert [told(answer) for answer in answers[2:]] == [HELD] * 2
    assert (0 < left <= 30, history, shown) == (True, 2, answers[-1].data)


@pytest.mark.parametrize("end", ["done", "expired", "cancelled"])
async def test_a_hold_is_followed_to_its_end_whichever_replica_ends_it(
    orders_settings: Settings, orders_database_url: str, orders_redis: Redis, vhost: Vhost, end: str
) -> None:
    """Who waits is told of an order that is held; a stream goes on."""
    async with (
        serve(create_app(orders_settings)) as url,
        connect(url) as api,
        running(create_app(orders_settings)) as other_api,
    ):
        await eventually(lambda: is_up(api))
        placed = (await api.post("/orders", {"lines": LINES, "holdSeconds": 600})).data
        assert await api.data("/orders/product/8") == [placed]  # which caches it
        waiting = asyncio.create_task(api.get("/orders/1?wait=30"))
        async with following(url, 1) as stream, asyncio.timeout(LIMIT):
            of_lines: dict[str, Any] = {"productId": None, "lines": LINES}
            await vhost.publish_batch(verdict(1, "held", **of_lines))
            assert (await waiting).data["status"] == "held"
            assert [await stream.event() for _ in range(2)]
            if end == "expired":
                await fetch(orders_database_url, "UPDATE orders SET expires_at = now() + interval '1 millisecond'")
            else:
                path = {"done": "confirm", "cancelled": "cancel"}[end]
                await other_api.request("POST", f"/orders/1/{path}", headers=TRACE)
            # What comes too late changes nothing.
            await becomes(other_api, 1, end)
            await vhost.publish_batch(verdict(1, "rejected", "insufficient_stock", **of_lines))
            assert await stream.rest() == [f"3 {end}"]
        history = await api.data("/orders/1/history")
        listed = [await api.data(f"/orders?productId={n}&status={end}") for n in (7, 8)]
        assert listed == [await api.data("/orders/product/8")] * 2 == [[await api.data("/orders/1")]] * 2
        events = await announced(vhost, 2)

    hold = datetime.fromisoformat(placed["expiresAt"]) - datetime.fromisoformat(placed["createdAt"])
    assert (placed["status"], hold) == ("pending", timedelta(seconds=600))
    assert [entry["status"] for entry in history] == ["pending", "held", end]
    kind = {"done": "order.confirmed"}.get(end, f"order.{end}")
    assert [event["type"] for event in events] == ["order.created", kind]
    assert events[0]["data"] == events[1]["data"]
    assert events[0]["data"]["held"] is True
    trace_id = placed["traceId"] if end == "expired" else TRACE_ID
    assert history[-1]["traceId"] == events[1]["traceparent"].split("-")[1] == trace_id


@pytest.mark.usefixtures("never_polling")
@pytest.mark.parametrize("rivals", [["confirm"], ["confirm", "cancel"], ["confirm", "hold", "cancel"]])
async def test_of_those_that_end_a_hold_at_once_one_wins_and_each_client_is_told_what_is_stored(
    orders_settings: Settings, orders_database_url: str, orders_redis: Redis, vhost: Vhost, rivals: list[str]
) -> None:
    url, answers, found = orders_database_url, dict[tuple[int, str], Answer](), Counter[str]()
    async with replica(orders_settings) as (api, _), replica(orders_settings) as (other_api, others):

        async def ask(via: Api, order_id: int, rival: str) -> None:
            content = {"holdSeconds": 600} if rival == "hold" else None
            async with few:
                answers[order_id, rival] = await via.post(f"/orders/{order_id}/{rival}", content)

        async def expire() -> None:
            for _ in range(8):
                with suppress(AppError):  # the service tries again too
                    await others.expire()

        few, spread = asyncio.Semaphore(8), 0.04
        for _ in range(17):
            ids = await put(url, "held", 0.0, 20, spread)
            asked = (ask([api, other_api][n % 2], id_, rival) for n, id_ in enumerate(ids) for rival in rivals)
            await asyncio.gather(expire(), *asked)
            too_late = sum(EXPIRED in {told(answers[order_id, rival]) for rival in rivals} for order_id in ids)
            spread *= 2 if too_late > 15 else 0.5 if too_late < 5 else 1  # however fast this machine is
        await reaches(lambda: fetch(url, ENDING_SOON), [])
        await others.expire()
        histories = {order_id: {*entries} - {"pending", "held"} for order_id, entries in await fetch(url, HISTORIES)}
        statuses = dict(await fetch(url, "SELECT id, status FROM orders"))
        events = await announced(vhost, sum(map(len, histories.values())))

    for order_id, ends in histories.items():
        told_to = {rival: told(answers[order_id, rival]) for rival in rivals}
        assert ("done" in ends) is (told_to["confirm"] == DONE)
        assert ("cancelled" in ends) is (told_to.get("cancel") == CANCELLED)
        assert "expired" in ends or EXPIRED not in told_to.values()
        assert not {"done", "expired"} <= ends
        assert set(told_to.values()) <= {DONE, CANCELLED, HELD, EXPIRED, CONFLICT, LATER, UNAVAILABLE}
        assert {statuses[order_id]} == (ends - {"done"} or ends or {"held"})
        found[statuses[order_id]] += 1
    kind = {"done": "order.confirmed", "cancelled": "order.cancelled", "expired": "order.expired"}
    assert kinds(events) == Counter((kind[end], order_id) for order_id, ends in histories.items() for end in ends)
    assert 0 < found["expired"] < len(histories), found  # or it shows too little


@pytest.mark.usefixtures("never_polling")
async def test_replicas_share_what_is_overdue_and_leave_what_is_locked_to_the_next_look(
    orders_settings: Settings, orders_database_url: str, orders_redis: Redis, vhost: Vhost
) -> None:
    url, held = orders_database_url, "SELECT id FROM orders WHERE status = 'held'"
    async with replica(orders_settings) as (_, orders), replica(orders_settings) as (_, others):
        ids = await put(url, "held", -60.0, 1_700)
        [still_held] = await put(url, "held", 60.0, 1)
        async with locked(url, f"SELECT FROM orders WHERE id = {ids[0]} FOR UPDATE"):
            await asyncio.gather(orders.expire(), others.expire())
            left = await fetch(url, held)
        await orders.expire()
        events = await announced(vhost, len(ids))

    assert left == [(ids[0],), (still_held,)]
    assert await fetch(url, held) == [(still_held,)]
    assert kinds(events) == Counter(("order.expired", order_id) for order_id in ids)
