"""Rows that agree are passed over, and each way in which they can disagree is found."""

import asyncio

import pytest

from ops import checks
from ops.differences import Kind
from ops.output import Answer
from ops.reconcile import reconcile
from ops.settings import DatabaseUrls
from tests.databases import fetch
from tests.integration.ops.conftest import Ops
from tests.integration.ops.shop import PRODUCT, TRACE_ID, Shop
from tools.stack.servers import Servers


@pytest.fixture
async def shop(products_url: str, orders_url: str) -> Shop:
    """Orders 1 to 6, in every state that they can end in."""
    shop = Shop(products_url, orders_url)
    await shop.open()
    await shop.order(1, "done", "reserved")
    await shop.order(2, "rejected", "rejected")
    await shop.order(3, "cancelled", "released")
    await shop.order(4, "cancelled", "rejected")
    await shop.order(5, "cancelled", None)
    await shop.products(f"INSERT INTO reservations VALUES (5, {PRODUCT}, 2, 'released')")  # cancelled before it came
    await shop.order(6, "pending", None, age="1 second")
    return shop


async def look(ops: Ops, *arguments: str) -> Answer:
    return await ops("reconcile", "--settle", "0", *arguments)


def kinds(answer: Answer) -> list[tuple[str, int | None, int | None]]:
    return [(found["kind"], found["orderId"], found["productId"]) for found in answer.document["differences"]]


async def test_empty_databases_agree(ops: Ops, products_url: str, orders_url: str) -> None:
    answer = await look(ops)

    assert answer.ok
    assert answer.text == "products: 0, orders: 0, reservations: 0\ndifferences: 0, unfinished orders: 0"


async def test_every_state_that_is_right_agrees(ops: Ops, shop: Shop) -> None:
    answer = await look(ops)

    assert answer.ok
    assert answer.document == {
        "differences": [],
        "unfinished": [],
        "summary": {
            "products": 1,
            "orders": 6,
            "reservations": 5,
            "differences": 0,
            "unfinished": 0,
            "complete": True,
        },
    }


@pytest.mark.parametrize("outcome", [None, "reserved", "rejected", "released"])
async def test_a_young_order_may_have_any_reservation_and_an_old_one_is_named(
    ops: Ops, shop: Shop, outcome: str | None
) -> None:
    await shop.order(11, "pending", outcome, age="30 seconds")

    young, old = await look(ops), await look(ops, "--older-than", "20")

    assert (young.ok, young.document["unfinished"]) == (True, [])
    assert (old.ok, old.document["differences"], old.document["summary"]["unfinished"]) == (True, [], 1)
    [unfinished] = old.document["unfinished"]
    assert (unfinished["orderId"], unfinished["traceId"]) == (11, TRACE_ID)
    assert unfinished["expected"] == "done, rejected or cancelled within 20 s"


@pytest.mark.parametrize("outcome", [None, "reserved"])
async def test_a_cancelled_order_has_its_stock_back_after_a_while(ops: Ops, shop: Shop, outcome: str | None) -> None:
    await shop.order(11, "cancelled", outcome, age="30 seconds")

    young, old = await look(ops), await look(ops, "--older-than", "20")

    kind = Kind.ORDER_WITHOUT_RESERVATION if outcome is None else Kind.STATUS
    assert young.ok
    assert kinds(old) == [(kind, 11, PRODUCT)]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [("done", "rejected"), ("done", "released"), ("rejected", "reserved"), ("rejected", "released")],
)
async def test_a_status_that_the_reservation_denies(ops: Ops, shop: Shop, status: str, outcome: str) -> None:
    await shop.order(11, status, outcome)

    answer = await look(ops)

    assert not answer.ok
    assert kinds(answer) == [(Kind.STATUS, 11, PRODUCT)]
    [found] = answer.document["differences"]
    assert f"reservation {outcome}" in found["found"]
    assert found["traceId"] == TRACE_ID


@pytest.mark.parametrize("status", ["done", "rejected"])
async def test_an_order_without_reservation(ops: Ops, shop: Shop, status: str) -> None:
    await shop.order(11, status, None)

    assert kinds(await look(ops)) == [(Kind.ORDER_WITHOUT_RESERVATION, 11, PRODUCT)]


async def test_a_reservation_without_order(ops: Ops, shop: Shop) -> None:
    for order_id in (0, 99):
        await shop.reserve(order_id, "reserved")

    assert kinds(await look(ops)) == [(Kind.RESERVATION_WITHOUT_ORDER, order_id, PRODUCT) for order_id in (0, 99)]


@pytest.mark.parametrize("change", ["product_id = 8", "quantity = 3, total_price = 3"])
async def test_an_order_of_something_else_than_its_reservation(ops: Ops, shop: Shop, change: str) -> None:
    await shop.orders(f"UPDATE orders SET {change} WHERE id = 2")

    [found] = kinds(await look(ops))

    assert found[:2] == (Kind.PRODUCT_OR_QUANTITY, 2)


async def test_stock_that_is_not_the_sum_of_its_movements(ops: Ops, shop: Shop) -> None:
    await shop.products("UPDATE products SET qty = qty + 1")

    answer = await look(ops)

    assert kinds(answer) == [(Kind.STOCK, None, PRODUCT)]
    [found] = answer.document["differences"]
    assert (found["found"], found["expected"]) == ("qty 99", "98, the sum of its movements")


async def test_stock_without_movements_and_movements_without_product(ops: Ops, shop: Shop) -> None:
    await shop.products("INSERT INTO products (id, name, price, qty) VALUES (8, 'Desk', 1, 5)")
    await shop.products("INSERT INTO stock_movements (product_id, kind, delta) VALUES (9, 'initial', 0)")

    assert kinds(await look(ops)) == [(Kind.STOCK, None, 8), (Kind.STOCK, None, 9)]


async def test_stock_below_zero(ops: Ops, shop: Shop, servers: Servers) -> None:
    database = shop.products_url.rsplit("/", 1)[1]
    await fetch(
        servers.postgres.admin_url.rsplit("/", 1)[0] + f"/{database}",
        "ALTER TABLE products DROP CONSTRAINT products_qty_check",
    )
    await shop.products("UPDATE products SET qty = -1")
    await shop.products(f"INSERT INTO stock_movements (product_id, kind, delta) VALUES ({PRODUCT}, 'adjustment', -99)")

    assert kinds(await look(ops)) == [(Kind.BELOW_ZERO, None, PRODUCT)]


@pytest.mark.parametrize(
    ("order_id", "kind", "delta"),
    [
        (1, "reserve", -2),  # taken twice
        (1, "release", 2),  # given back, and still reserved
        (2, "reserve", -2),  # taken for a rejected order
        (3, "release", 2),  # given back twice
        (5, "release", 2),  # given back, never taken
        (6, "reserve", -2),  # taken without a reservation
        ("NULL", "reserve", -2),  # for nobody
    ],
)
async def test_movements_that_the_reservation_does_not_explain(
    ops: Ops, shop: Shop, order_id: int | str, kind: str, delta: int
) -> None:
    await shop.move(order_id, kind, delta)

    answer = await look(ops)

    assert kinds(answer) == [(Kind.MOVEMENTS, None if order_id == "NULL" else order_id, PRODUCT)]
    [found] = answer.document["differences"]
    assert found["traceId"] == (None if order_id == "NULL" else TRACE_ID)
    assert f"{kind} of {delta} of product {PRODUCT}" in found["found"]


@pytest.mark.parametrize(
    "change",
    ["DELETE FROM stock_movements WHERE {}", "UPDATE stock_movements SET delta = 1 WHERE {}"],
)
@pytest.mark.parametrize(("order_id", "kind"), [(1, "reserve"), (3, "reserve"), (3, "release")])
async def test_movements_that_are_missing_or_too_small(
    ops: Ops, shop: Shop, change: str, order_id: int, kind: str
) -> None:
    await shop.products(change.format(f"order_id = {order_id} AND kind = '{kind}'"))
    await shop.products("UPDATE products SET qty = (SELECT sum(delta) FROM stock_movements)")

    assert kinds(await look(ops)) == [(Kind.MOVEMENTS, order_id, PRODUCT)]


@pytest.mark.parametrize(("order_id", "kind"), [(1, "reserve"), (3, "reserve"), (3, "release")])
@pytest.mark.parametrize("other", [PRODUCT - 1, PRODUCT + 1])
async def test_movements_of_another_product(ops: Ops, shop: Shop, other: int, order_id: int, kind: str) -> None:
    await shop.products(f"INSERT INTO products (id, name, price, qty) VALUES ({other}, 'Desk', 1, 0)")
    await shop.products(f"INSERT INTO stock_movements (product_id, kind, delta) VALUES ({other}, 'initial', 4)")
    await shop.products(
        f"UPDATE stock_movements SET product_id = {other} WHERE order_id = {order_id} AND kind = '{kind}'"
    )
    await shop.products("""
        UPDATE products SET qty = (SELECT sum(delta) FROM stock_movements WHERE product_id = products.id)
    """)

    assert kinds(await look(ops)) == [(Kind.MOVEMENTS, order_id, PRODUCT)]


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM order_history WHERE order_id = 1",
        "DELETE FROM order_history WHERE order_id = 1 AND status = 'pending'",
        "DELETE FROM order_history WHERE order_id = 1 AND status = 'done'",
        "INSERT INTO order_history (order_id, status) VALUES (1, 'rejected')",
        "UPDATE order_history SET created_at = now() - interval '1 day' WHERE order_id = 1 AND status = 'done'",
        "UPDATE order_history SET created_at = now() WHERE order_id = 1 AND status = 'pending'",
    ],
)
async def test_a_history_that_does_not_lead_to_the_status(ops: Ops, shop: Shop, change: str) -> None:
    await shop.orders(change)

    answer = await look(ops)

    assert kinds(answer) == [(Kind.HISTORY, 1, PRODUCT)]
    assert answer.document["differences"][0]["traceId"] == TRACE_ID


async def test_a_history_of_no_order(ops: Ops, shop: Shop) -> None:
    await shop.orders("INSERT INTO order_history (order_id, status) VALUES (99, 'pending')")

    assert kinds(await look(ops)) == [(Kind.HISTORY, 99, None)]


async def test_work_in_flight_is_no_difference(shop: Shop) -> None:
    await shop.order(11, "done", None)
    await shop.products("UPDATE products SET qty = qty + 1")

    async def settle() -> None:
        await shop.reserve(11, "reserved")

    found = await reconcile(DatabaseUrls(shop.products_url, shop.orders_url), 60, settle)

    assert [difference.kind for difference in found.differences] == [Kind.STOCK]


async def test_what_begins_to_differ_during_the_pause_is_left_to_the_next_run(shop: Shop) -> None:
    await shop.order(11, "done", None)

    async def settle() -> None:
        await shop.orders("DELETE FROM order_history WHERE order_id = 11")

    found = await reconcile(DatabaseUrls(shop.products_url, shop.orders_url), 60, settle)

    assert [difference.kind for difference in found.differences] == [Kind.ORDER_WITHOUT_RESERVATION]


async def test_more_differences_than_are_printed(ops: Ops, shop: Shop) -> None:
    await shop.orders("DELETE FROM order_history")

    answer = await look(ops, "--limit", "2")

    assert [order_id for _, order_id, _ in kinds(answer)] == [1, 2]
    assert answer.document["summary"]["differences"] == 6
    assert len(answer.text.splitlines()) == 5


async def test_more_differences_than_are_kept(ops: Ops, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MOST_KEPT", 3)
    await shop.orders("DELETE FROM order_history")

    answer = await look(ops)

    assert (answer.ok, answer.document["summary"]["complete"]) == (False, False)
    assert len(kinds(answer)) == 3


async def test_orders_that_move_on_meanwhile_are_no_differences(ops: Ops, shop: Shop) -> None:
    """Orders are placed, decided and cancelled without a pause while the databases are compared."""

    async def trade() -> None:
        for order_id in range(100, 160, 2):
            await shop.order(order_id, "done", "reserved", age="0 seconds")
            await shop.order(order_id + 1, "cancelled", "released", age="0 seconds")

    trading = asyncio.create_task(trade())
    looks = 0
    while not trading.done():
        assert (await ops("reconcile", "--settle", "0.3")).ok
        looks += 1
    await trading

    assert looks > 1
