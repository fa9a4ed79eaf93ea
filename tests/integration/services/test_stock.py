"""The stock of products: what orders take and give back, and what clients correct."""

import asyncio
from collections import Counter
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest

from products import repository
from products.service import Stock
from products.settlement import Claim, Line, Release, Settlement
from shared.contracts.events import Reason
from shared.contracts.fields import MAX_STOCK
from shared.db import Database
from tests.api import Answer, Api
from tests.broker import Vhost, event, headers
from tests.databases import WAITING, as_admin, fetch, locked, owner
from tests.integration.services.stock import cancelled, created, left, movements, outcomes, product
from tests.traces import traceparent
from tests.waiting import reaches
from tools.stack.servers import Servers

REFUSED = (409, "conflict", ["delta"])


def answers(settlement: Settlement) -> list[tuple[int, str, str | None]]:
    return sorted(
        (reservation.order_id, reservation.outcome, reservation.reason) for _, reservation in settlement.answers
    )


def with_data(event: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    return {**event, "data": {**event["data"], **more}}


async def announced(url: str) -> list[tuple[int, str, str | None]]:
    """Order, status and reason of each event in the outbox."""
    return await fetch(
        url,
        """
        SELECT (payload->>'orderId')::int, payload->>'status', payload->>'reason'
        FROM outbox WHERE type = 'order.updated' ORDER BY id
        """,
    )


async def adjust(api: Api, product_id: int, delta: int) -> Answer:
    return await api.post(f"/products/{product_id}/stock", {"delta": delta, "reason": "counted"})


async def becomes(url: str, product_id: int, qty: int) -> None:
    await reaches(lambda: left(url, product_id), qty)


async def test_an_order_is_decided_once_and_answered_alike_each_time(stock: Stock, products_database_url: str) -> None:
    product_id = await product(products_database_url, qty=5)
    claims = [
        Claim(1, (Line(product_id, 3),), traceparent=traceparent()),
        Claim(2, (Line(product_id, 3),)),
        Claim(3, (Line(404, 1),)),
    ]

    first = await stock.settle(claims)
    new_id = await product(products_database_url, qty=1)
    again = await stock.settle(claims)
    twice_in_one_batch = await stock.settle([Claim(4, (Line(product_id, 1),)), Claim(4, (Line(product_id, 1),))])

    assert answers(again) == answers(first)
    assert answers(first) == [
        (1, "reserved", None),
        (2, "rejected", Reason.INSUFFICIENT_STOCK),
        (3, "rejected", Reason.PRODUCT_NOT_FOUND),
    ]
    assert answers(twice_in_one_batch) == [(4, "reserved", None)]
    verdicts = [(1, "done", None), (2, "rejected", "insufficient_stock"), (3, "rejected", "product_not_found")]
    assert await announced(products_database_url) == [*verdicts, *verdicts, (4, "done", None)]
    traceparents = await fetch(products_database_url, "SELECT traceparent FROM outbox ORDER BY id LIMIT 2")
    assert traceparents == [(traceparent(),), (None,)]
    assert [await left(products_database_url, each) for each in (product_id, new_id)] == [1, 1]


async def test_a_hot_product_is_updated_once_a_batch(stock: Stock, products_database_url: str) -> None:
    product_id = await product(products_database_url, qty=1000)

    await stock.settle([Claim(order_id, (Line(product_id, 1),)) for order_id in range(1, 301)])

    # Each update would leave another version of the row behind it: this is the second.
    assert await fetch(products_database_url, "SELECT qty, ctid::text FROM products") == [(700, "(0,2)")]
    assert await left(products_database_url, product_id) == 700


async def test_concurrent_batches_never_oversell(stock: Stock, products_database_url: str) -> None:
    product_ids = [await product(products_database_url, qty=10) for _ in range(2)]
    batches = [[Claim(10 * n + k, (Line(product_ids[(n + k) % 2], 1),)) for k in range(10)] for n in range(1, 7)]

    settlements = await asyncio.gather(*map(stock.settle, batches))

    counted = Counter(outcome for settlement in settlements for _, outcome, _ in answers(settlement))
    assert counted == {"reserved": 20, "rejected": 40}
    assert [await left(products_database_url, product_id) for product_id in product_ids] == [0, 0]


async def test_an_order_in_many_batches_at_once_is_decided_once(stock: Stock, products_database_url: str) -> None:
    """There is no row to lock for product 404: a second batch finds the reservation only when it writes its own."""
    product_id = await product(products_database_url, qty=100)
    kept = [Claim(n, (Line(product_id, 1),)) for n in range(1, 11)]
    unknown = [Claim(n, (Line(404, 1),)) for n in range(11, 21)]
    released = [(Claim(n, (Line(product_id, 1),)), Release(n, (Line(product_id, 1),))) for n in range(21, 31)]
    batches = [kept, unknown, *map(list, zip(*released, strict=True))] * 2

    settlements = await asyncio.gather(*map(stock.settle, batches))

    reserved = [(n, "reserved", None) for n in range(1, 11)]
    rejected = [(n, "rejected", Reason.PRODUCT_NOT_FOUND) for n in range(11, 21)]
    assert [answers(settlement) for settlement in settlements[::4]] == [reserved] * 2
    assert [answers(settlement) for settlement in settlements[1::4]] == [rejected] * 2
    assert await outcomes(products_database_url) == {
        n: "reserved" if n <= 10 else "rejected" if n <= 20 else "released" for n in range(1, 31)
    }
    assert await left(products_database_url, product_id) == 90
    moved = Counter((order_id, kind) for order_id, kind, _ in await movements(products_database_url))
    assert set(moved.values()) == {1}


async def test_two_batches_lock_products_in_one_order_however_each_reads_them(
    products_database: Database, products_database_url: str
) -> None:
    """One walks the index, the other the table, where the products lie the other way round; 5 holds up both midway."""
    url = products_database_url
    await fetch(
        url, "INSERT INTO products (id, name, price, qty) SELECT 10 - n, 'Lamp', 1, 1 FROM generate_series(1, 9) n"
    )

    async def lock(scan: str) -> int:
        async with products_database.transaction(10) as connection:
            for off in ("lock_timeout = 0", "enable_bitmapscan = off", f"enable_{scan} = off"):
                await connection.execute(f"SET LOCAL {off}")
            return len(await repository.lock_stock(connection, range(1, 10)))

    async with locked(url, "SELECT FROM products WHERE id = 5 FOR UPDATE"):
        both = [asyncio.create_task(lock(scan)) for scan in ("seqscan", "indexscan")]
        await reaches(lambda: fetch(url, f"SELECT count(*) {WAITING}"), [(2,)])

    assert await asyncio.gather(*both) == [9, 9]


async def consuming(api: Api) -> str:
    return str((await api.data("/health/ready"))["checks"]["consumers"])


async def test_a_schema_that_is_missing_or_changes_under_its_statements_costs_no_order(
    products_api: Api, products_database_url: str, vhost: Vhost
) -> None:
    owner_url = owner(products_database_url)
    product_id = await product(products_database_url, qty=10)
    await fetch(owner_url, "ALTER TABLE reservations RENAME TO not_yet")
    await vhost.publish_batch(created(product_id, 1, 1), created(product_id, 2, 1))
    await reaches(lambda: consuming(products_api), "down")
    await fetch(owner_url, "ALTER TABLE not_yet RENAME TO reservations")
    await becomes(products_database_url, product_id, 8)
    await fetch(owner_url, "ALTER TABLE products ALTER COLUMN qty TYPE numeric(20, 0)")
    await vhost.publish_batch(created(product_id, 3, 1))
    await becomes(products_database_url, product_id, 7)
    assert await vhost.depth("products.orders.dead") == 0


async def test_each_change_of_stock_is_a_movement(products_api: Api, products_database_url: str, vhost: Vhost) -> None:
    product_id = await product(products_database_url, qty=10)
    adjusted = [await adjust(products_api, product_id, delta) for delta in (5, -7)]
    for each, qty in ((created(product_id, 7, 8), 0), (cancelled(product_id, 7, 8), 8)):
        await vhost.publish_batch(each)
        await becomes(products_database_url, product_id, qty)

    answer = await products_api.get(f"/products/{product_id}/movements")

    found: list[dict[str, Any]] = answer.data
    times = [datetime.fromisoformat(movement.pop("createdAt")) for movement in found]
    ids = [movement.pop("id") for movement in found]
    assert found == [
        {"kind": "release", "delta": 8, "orderId": 7, "reason": None},
        {"kind": "reserve", "delta": -8, "orderId": 7, "reason": None},
        {"kind": "adjustment", "delta": -7, "orderId": None, "reason": "counted"},
        {"kind": "adjustment", "delta": 5, "orderId": None, "reason": "counted"},
        {"kind": "initial", "delta": 10, "orderId": None, "reason": None},
    ]
    assert (ids, times) == (sorted(ids, reverse=True), sorted(times, reverse=True))
    assert [(answer.status, answer.data["qty"]) for answer in adjusted] == [(200, 15), (200, 8)]
    # The version counts changes of name and price.
    assert {(answer.data["version"], answer.headers["ETag"]) for answer in adjusted} == {(1, '"1"')}


@pytest.mark.parametrize(("end", "qty"), [("order.confirmed", 7), ("order.expired", 10), ("order.cancelled", 10)])
async def test_a_product_shows_what_is_free_and_what_is_held_until_the_hold_ends(
    products_api: Api, products_database_url: str, vhost: Vhost, end: str, qty: int
) -> None:
    product_id = await product(products_database_url, qty=10)
    held = with_data(created(product_id, 1, 3), {"held": True})

    async def shown() -> tuple[int, int]:
        data = await products_api.data(f"/products/{product_id}")
        return data["qty"], data["held"]

    found = [await shown()]
    for each in (held, {**held, "type": end}):
        await vhost.publish_batch(each)
        await vhost.publish_batch(each, created(404, len(found) + 1, 1))
        await reaches(
            lambda: fetch(products_database_url, "SELECT count(*)::int FROM reservations"), [(len(found) + 1,)]
        )
        found.append(await shown())

    assert found == [(10, 0), (7, 3), (qty, 0)]
    assert await fetch(products_database_url, "SELECT 1 FROM reservations WHERE held") == []
    assert await left(products_database_url, product_id) == qty


async def test_the_verdict_on_an_order_of_lines_names_them_and_what_was_short(
    products_api: Api, products_database_url: str, vhost: Vhost
) -> None:
    many, few = [await product(products_database_url, qty) for qty in (10, 1)]
    wanted = [{many: 2, few: 1}, {many: 2, few: 3}, {few: 3, 404: 1, many: 1}]
    lines = [[{"productId": id_, "quantity": n} for id_, n in each.items()] for each in wanted]

    await vhost.publish_batch(
        *(event("order.created", {"orderId": n, "lines": each, "held": n == 1}) for n, each in enumerate(lines, 1))
    )
    await reaches(lambda: vhost.depth("orders.stock"), 1)

    short, unknown = [
        {"productId": id_, "requested": quantity, "available": 0} for id_, quantity in ((few, 3), (404, 1))
    ]
    verdicts = [each["data"] for each in await vhost.take_events("orders.stock")]
    assert [(each["orderId"], each["lines"]) for each in verdicts] == [*enumerate(lines, 1)]
    assert [(each["status"], each["reason"], each.get("shortages")) for each in verdicts] == [
        *(("held", None, None), ("rejected", "insufficient_stock", [short])),
        ("rejected", "product_not_found", [short, unknown]),
    ]
    assert not any("productId" in each for each in verdicts)
    assert [await left(products_database_url, each) for each in (many, few)] == [8, 0]


async def test_stock_does_not_leave_its_limits(products_api: Api, products_database_url: str) -> None:
    few, many = [await product(products_database_url, qty) for qty in (3, MAX_STOCK - 1)]

    refused = [
        await adjust(products_api, few, -4),
        await adjust(products_api, few, -MAX_STOCK),
        await adjust(products_api, many, 2),
        await adjust(products_api, many, MAX_STOCK),
    ]
    unknown = await adjust(products_api, 404, 1)
    moved = await movements(products_database_url)
    to_the_limit = [await adjust(products_api, few, -3), await adjust(products_api, many, 1)]

    assert [answer.refusal for answer in refused] == [REFUSED] * 4
    assert [answer.body["error"]["details"][0]["message"] for answer in refused] == [
        *["The stock is 3."] * 2,
        *[f"The stock is {MAX_STOCK - 1}."] * 2,
    ]
    assert (unknown.refusal, moved) == ((404, "not_found", []), [])
    assert [answer.data["qty"] for answer in to_the_limit] == [0, MAX_STOCK]
    assert [await left(products_database_url, each) for each in (few, many)] == [0, MAX_STOCK]


async def test_adjustments_at_once_lose_none_and_stop_at_zero(products_api: Api, products_database_url: str) -> None:
    product_id = await product(products_database_url, qty=30)

    found = await asyncio.gather(*(adjust(products_api, product_id, -1) for _ in range(50)))

    assert Counter(answer.status for answer in found) == {200: 30, 409: 20}
    assert sorted(answer.data["qty"] for answer in found if answer.status == 200) == list(range(30))
    assert len(await movements(products_database_url)) == 30
    assert await left(products_database_url, product_id) == 0


async def test_stock_above_the_limit_is_stock_like_any_other(
    products_api: Api, products_database_url: str, vhost: Vhost
) -> None:
    product_id = await product(products_database_url, qty=MAX_STOCK)
    quantity = 1_000_000

    async def after(event: dict[str, Any], qty: int) -> None:
        await vhost.publish_batch(event)
        await becomes(products_database_url, product_id, qty)
        assert (await products_api.get(f"/products/{product_id}")).data["qty"] == qty

    await after(created(product_id, 1, quantity), MAX_STOCK - quantity)
    assert (await adjust(products_api, product_id, quantity)).data["qty"] == MAX_STOCK
    await after(cancelled(product_id, 1, quantity), MAX_STOCK + quantity)

    assert (await adjust(products_api, product_id, 1)).refusal == REFUSED
    assert (await adjust(products_api, product_id, -1)).data["qty"] == MAX_STOCK + quantity - 1
    renamed = await products_api.request("PATCH", f"/products/{product_id}", json={"name": "Sand"})
    assert (renamed.status, renamed.data["qty"]) == (200, MAX_STOCK + quantity - 1)
    await after(created(product_id, 2, 1), MAX_STOCK + quantity - 2)


async def test_an_order_that_has_the_number_of_a_lost_one_gets_neither_its_stock_nor_silence(
    products_api: Api, products_database_url: str, vhost: Vhost
) -> None:
    """As after orders-db was restored: product and quantity are the same, so that nothing but the identity differs."""
    url = products_database_url
    product_id = await product(url, qty=10)
    [(uid,)] = await fetch(url, "SELECT uid::text FROM products")
    lost, new = {"orderUid": str(uuid4()), "productUid": uid}, {"orderUid": str(uuid4()), "productUid": uid}
    await vhost.publish_batch(with_data(created(product_id, 1, 3), lost))
    await becomes(url, product_id, 7)

    await vhost.publish_batch(
        with_data(created(product_id, 1, 3), new),
        with_data(cancelled(product_id, 1, 3), new),
        created(product_id, 2, 1),
    )

    await becomes(url, product_id, 6)
    await reaches(lambda: vhost.depth("products.orders.dead"), 2)
    letters = await vhost.take("products.orders.dead")
    assert {headers(each)["x-error"] for each in letters} == {
        "AppError: Another order has the reservation of this number"
    }
    assert await outcomes(url) == {1: "reserved", 2: "reserved"}


async def test_an_order_of_a_product_that_is_lost_is_rejected(
    products_api: Api, products_database_url: str, vhost: Vhost
) -> None:
    """As after products-db was restored and another product got the number."""
    product_id = await product(products_database_url, qty=10)

    await vhost.publish_batch(with_data(created(product_id, 1, 3), {"productUid": str(uuid4())}))

    await reaches(lambda: outcomes(products_database_url), {1: "rejected"})
    assert await left(products_database_url, product_id) == 10


async def test_what_a_newer_release_has_written_stops_no_cancellation(
    products_api: Api, products_database_url: str, vhost: Vhost, servers: Servers
) -> None:
    """A reason of its own is passed on; what it alone can decide is parked, and the others of the batch go on."""
    url, admin_url = products_database_url, as_admin(servers.postgres, products_database_url)
    product_id = await product(url, qty=10)
    await vhost.publish_batch(*(created(product_id, order_id, 1) for order_id in (1, 2, 3)))
    await becomes(url, product_id, 7)
    await vhost.take("orders.stock")
    await fetch(admin_url, "ALTER TABLE reservations DROP CONSTRAINT reservations_known_outcome")
    await fetch(admin_url, "UPDATE reservations SET outcome = 'rejected', reason = 'out_of_season' WHERE order_id = 1")
    await fetch(admin_url, "UPDATE reservations SET outcome = 'shipped' WHERE order_id = 2")

    await vhost.publish_batch(*(created(product_id, order_id, 1) for order_id in (1, 2)))
    await vhost.publish_batch(*(cancelled(product_id, order_id, 1) for order_id in (1, 2, 3)))

    await becomes(url, product_id, 8)
    assert await outcomes(url) == {1: "rejected", 2: "shipped", 3: "released"}
    await reaches(lambda: vhost.depth("products.orders.parked"), 2)
    parked = [(each["type"], each["data"]["orderId"]) for each in await vhost.take_events("products.orders.parked")]
    assert sorted(parked) == [("order.cancelled", 2), ("order.created", 2)]
    assert await vhost.depth("products.orders.dead") == 0
    [answer] = [each["data"] for each in await vhost.take_events("orders.stock")]
    assert (answer["orderId"], answer["status"], answer["reason"]) == (1, "rejected", "out_of_season")
