"""What a restored database leaves of an order: said, mended once, and then right.

Which step each state has is tested in tests/unit/ops/test_steps.py; here each step is taken, and decides nothing else.
"""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

import pytest

from ops.output import Answer
from orders import repository
from tests.integration.ops.conftest import Ops
from tests.integration.ops.shop import MOVE, ONE, OTHER, PRODUCT, SEVERAL, Shop
from tests.traces import TRACE_ID
from tests.waiting import eventually

ORDER = 10
GIVEN = 2_000
X, Y = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"
NEW_ORDER = f"UPDATE orders SET uid = '{X}', updated_at = now() WHERE id = {ORDER}"
OF_LOST = f"UPDATE reservations SET order_uid = '{Y}' WHERE order_id = {ORDER}"
ARCHIVED = f"INSERT INTO archived_orders VALUES ({ORDER})"
SOLD_OUT = """
INSERT INTO stock_movements (product_id, kind, delta) SELECT id, 'adjustment', 1 - qty FROM products WHERE id = {0};
UPDATE products SET qty = 1 WHERE id = {0}
"""


class Fault(NamedTuple):
    """An order as the services left it, what a restored database changed, the steps, and what is right afterwards."""

    status: str | None
    outcome: str | None
    steps: list[tuple[str, int]]
    status_after: str | None
    outcomes_after: dict[int, str]
    stock_after: int
    products: str = "SELECT"
    orders: str = "SELECT"
    of: Mapping[int, int] = ONE
    other_after: int = 94
    hold: bool = False


FAULTS = {
    "pending, its event is lost": Fault("pending", None, [("announce", 0)], "pending", {}, 98),
    "pending, though it was cancelled": Fault(
        "pending", "released", [("cancel", 0)], "cancelled", {ORDER: "released"}, 98
    ),
    "done, its reservation is lost": Fault("done", None, [("reserve", -2)], "done", {ORDER: "reserved"}, 96),
    "done, its product is lost": Fault(
        *("done", None, [("oversold", 0)], "done", {}, 98),
        orders=f"UPDATE orders SET product_uid = '{X}' WHERE id = {ORDER}",
    ),
    "done, and then asked for again": Fault("done", "rejected", [("reserve", -2)], "done", {ORDER: "reserved"}, 96),
    "rejected, its reservation is lost": Fault("rejected", None, [("note", 0)], "rejected", {ORDER: "released"}, 98),
    "cancelled, its release is lost": Fault(
        "cancelled", "reserved", [("release", 2)], "cancelled", {ORDER: "released"}, 98
    ),
    "lost": Fault(None, "reserved", [("release", 2)], None, {ORDER: "released"}, 98),
    "archived, and then its reservation was lost": Fault(None, None, [("left", 0)], None, {}, 98, orders=ARCHIVED),
    "archived, and its reservation is held": Fault(
        None, "held", [("left", 0)], None, {ORDER: "held"}, 96, orders=ARCHIVED
    ),
    "its number was given out again": Fault(
        *("pending", "reserved", [("move", 2), ("announce", 0)], "pending", {GIVEN + 1: "released"}, 98),
        *(OF_LOST, NEW_ORDER),
    ),
    "its number was given out again, and the new order is done": Fault(
        *("done", "reserved", [("move", 2), ("reserve", -2)], "done", {GIVEN + 1: "released", ORDER: "reserved"}, 96),
        *(OF_LOST, NEW_ORDER),
    ),
    "its number was given out again, and the new order is cancelled": Fault(
        *("cancelled", "released", [("move", 0), ("note", 0)], "cancelled"),
        *({GIVEN + 1: "released", ORDER: "released"}, 98, OF_LOST, NEW_ORDER),
    ),
    "its held stock is not the sum of its reservations": Fault(
        None, None, [("held", 0)], None, {}, 98, f"UPDATE products SET held = 5 WHERE id = {PRODUCT}"
    ),
    "its stock is not the sum of its movements": Fault(
        None, None, [("stock", 7)], None, {}, 98, f"UPDATE products SET qty = 91 WHERE id = {PRODUCT}"
    ),
    "its movements take more than there was": Fault(
        *(None, None, [("left", 0)], None, {}, 98),
        f"INSERT INTO stock_movements (product_id, kind, delta) VALUES ({PRODUCT}, 'adjustment', -99)",
    ),
    "its movements are not those of its reservation": Fault(
        *("done", "reserved", [("left", 0)], "done", {ORDER: "reserved"}, 97),
        f"{MOVE.format(id=ORDER) % ('release', 1)}; UPDATE products SET qty = qty + 1 WHERE id = {PRODUCT}",
    ),
}
# The same for an order of two products, with a hold.
FAULTS_OF_BOTH = {
    "done, its reservation is lost": Fault(
        *("done", None, [("reserve", -2), ("reserve", -3)], "done", {ORDER: "reserved"}, 96), other_after=91
    ),
    "done, its reservation is lost, a piece of the last line was sold again": Fault(
        *("done", None, [("oversold", 0)], "done", {}, 98, SOLD_OUT.format(OTHER)), other_after=1
    ),
    "held, its reservation is lost": Fault(
        *("held", None, [("reserve", -2), ("reserve", -3)], "held", {ORDER: "held"}, 96), other_after=91
    ),
    "held, and then asked for again": Fault(
        *("held", "rejected", [("reserve", -2), ("reserve", -3)], "held", {ORDER: "held"}, 96),
        f"UPDATE reservations SET reason = 'insufficient_stock', available = 1 WHERE order_id = {ORDER}",
        other_after=91,
    ),
    "held, though it was confirmed": Fault(
        *("held", "reserved", [("confirm", 0)], "done", {ORDER: "reserved"}, 96), other_after=91
    ),
    "expired, though it was confirmed": Fault(
        *("expired", "reserved", [("confirm", 0)], "done", {ORDER: "reserved"}, 96), other_after=91
    ),
    "expired, its release is lost": Fault(
        "expired", "held", [("release", 2), ("release", 3)], "expired", {ORDER: "released"}, 98
    ),
    "lost, while it was held": Fault(None, "held", [("release", 2), ("release", 3)], None, {ORDER: "released"}, 98),
    "its number was given out again while it was held": Fault(
        *("pending", "held", [("move", 2), ("move", 3), ("announce", 0)], "pending", {GIVEN + 1: "released"}, 98),
        *(OF_LOST, NEW_ORDER),
    ),
    "its products are not listed": Fault(
        *("held", "held", [("left", 0)], "held", {ORDER: "held"}, 96),
        orders=f"DELETE FROM order_products WHERE order_id = {ORDER}",
        other_after=91,
    ),
}
FAULTS |= {f"of both, {name}": fault._replace(of=SEVERAL, hold=True) for name, fault in FAULTS_OF_BOTH.items()}


async def rows(shop: Shop) -> list[str]:
    """Everything that is in the two databases."""
    found = []
    for connection in (shop.products, shop.orders):
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        for (name,) in tables:
            found += [f"{name} {row}" for (row,) in await connection.fetch(f"SELECT t::text FROM {name} t ORDER BY 1")]
        found += [str(row) for row in await connection.fetch("SELECT sequencename, last_value FROM pg_sequences")]
    return found


def steps(answer: Answer) -> list[tuple[str, int]]:
    return [(action["step"], action["delta"]) for action in answer.document["actions"]]


@pytest.fixture
async def passed_over(shop: Shop) -> None:
    """The sequences have given out all numbers that are in use."""
    for connection, sequence in ((shop.products, "products_id_seq"), (shop.orders, "orders_id_seq")):
        await connection.execute(f"SELECT count(nextval('{sequence}')) FROM generate_series(1, {GIVEN})")


@pytest.mark.usefixtures("passed_over")
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_an_order_that_a_restore_left_behind_is_mended(ops: Ops, shop: Shop, fault: Fault) -> None:
    if fault.status:
        await shop.order(ORDER, fault.status, fault.outcome, of=fault.of, hold=fault.hold)
    elif fault.outcome:
        await shop.reserve(ORDER, fault.outcome, of=fault.of)
    await shop.products.execute(fault.products)
    await shop.orders.execute(fault.orders)
    before = await rows(shop)

    planned = await ops("repair", "--settle", "0")
    unchanged = await rows(shop)
    applied = await ops("repair", "--settle", "0", "--apply")
    after = await rows(shop)
    again = await ops("repair", "--settle", "0", "--apply")
    compared = await ops("reconcile", "--settle", "0")

    # What follows a move is decided when that is done.
    moves = [step for step in fault.steps if step[0] == "move"]
    assert (planned.ok, steps(planned)) == (False, moves or fault.steps)
    assert unchanged == before
    listed = [step for step in fault.steps if step[0] in {"oversold", "left"}]
    assert (applied.ok, steps(applied)) == (not listed, fault.steps)
    assert (again.ok, steps(again), await rows(shop)) == (not listed, listed, after)
    assert compared.ok is not bool(listed)
    assert await shop.orders.fetchval("SELECT status FROM orders WHERE id = $1", ORDER) == fault.status_after
    found = await shop.products.fetch("""
        SELECT order_id, CASE WHEN held THEN 'held' ELSE outcome END, available FROM reservations
        WHERE order_id / 100 <> 10
    """)
    assert {tuple(row) for row in found} == {(*item, None) for item in fault.outcomes_after.items()}
    stock = dict(map(tuple, await shop.products.fetch("SELECT id, qty FROM products")))
    assert stock == {PRODUCT: fault.stock_after, OTHER: fault.other_after}


async def test_numbers_that_either_database_knows_are_passed_over_first(ops: Ops, shop: Shop) -> None:
    """Nothing else is to do. A number that no sequence can have given out leads none there."""
    await shop.products.execute("INSERT INTO reservations VALUES (2000000000, 40, 1, 'rejected')")
    await shop.reserve(1020, "rejected")
    await shop.order(1014, "pending", None, of={PRODUCT: 1, 41: 1}, age="1 second")
    unchanged = await rows(shop)

    planned = await ops("repair", "--settle", "0")
    assert await rows(shop) == unchanged
    applied = await ops("repair", "--settle", "0", "--apply")

    whys = [
        "orders_id_seq was at 0, numbers up to 1020 are in use",
        "products_id_seq was at 0, numbers up to 41 are in use",
    ]
    for answer in (planned, applied):
        assert [action["why"] for action in answer.document["actions"]][:2] == whys
    assert await shop.orders.fetchval("SELECT nextval('orders_id_seq')") == 1021
    assert await shop.products.fetchval("SELECT nextval('products_id_seq')") == 42


@pytest.mark.usefixtures("passed_over")
async def test_an_order_is_announced_as_the_order_service_does_it_and_once(ops: Ops, shop: Shop) -> None:
    for order_id, of, hold in ((10, ONE, False), (11, ONE, True), (12, SEVERAL, False), (13, SEVERAL, True)):
        await shop.order(order_id, "pending", None, of=of, hold=hold)
    await shop.order(14, "pending", None)
    await shop.orders.execute("UPDATE orders SET uid = gen_random_uuid() WHERE id < 14")
    await shop.orders.execute(f"UPDATE orders SET product_uid = '{X}' WHERE id < 12")

    await ops("repair", "--apply")
    waiting = await ops("repair")

    written = "SELECT type, payload FROM outbox ORDER BY (payload ->> 'orderId')::bigint"
    events = await shop.orders.fetch("DELETE FROM outbox RETURNING traceparent, type, payload")
    await shop.orders.execute(repository.ANNOUNCE_AGAIN, list(range(10, 15)), [""] * 5)
    assert [(kind, payload) for _, kind, payload in events] == list(map(tuple, await shop.orders.fetch(written)))
    assert ({parent.split("-")[1] for parent, *_ in events}, waiting.ok) == ({TRACE_ID}, True)


@pytest.mark.usefixtures("passed_over")
async def test_stock_that_comes_back_serves_the_orders_that_lost_theirs_as_far_as_it_goes(
    ops: Ops, shop: Shop
) -> None:
    for order_id in (10, 11):
        await shop.order(order_id, "done", None)
    await shop.order(12, "cancelled", "reserved")
    await shop.products.execute(SOLD_OUT.format(PRODUCT))

    planned, applied = await ops("repair", "--settle", "0"), await ops("repair", "--settle", "0", "--apply")

    mended = [("release", 12, "order cancelled, reservation reserved")]
    mended += [("reserve", 10, "order done, no reservation")]
    mended += [("oversold", 11, "order done, no reservation, needs 2, 1 in stock")]
    for answer in (planned, applied):
        assert [(each["step"], each["orderId"], each["why"]) for each in answer.document["actions"]] == mended
    reasons = await shop.products.fetch("SELECT reason FROM stock_movements WHERE reason LIKE 'repair: %' ORDER BY id")
    assert [reason for (reason,) in reasons] == [f"repair: {why}" for _, _, why in mended[:2]]


@pytest.mark.usefixtures("passed_over")
async def test_a_row_that_somebody_has_locked_stops_it_and_what_was_done_is_said(
    ops: Ops, shop: Shop, ops_environment: dict[str, str]
) -> None:
    for order_id in (10, 11, 12):
        await shop.order(order_id, "done", "released")
    ops_environment["ORDERS_DATABASE_URL"] += "?lock_timeout=100ms"
    async with shop.orders.transaction():
        await shop.orders.execute("SELECT FROM orders WHERE id = 11 FOR UPDATE")
        stopped = await ops("repair", "--settle", "0", "--apply")

    assert (stopped.ok, steps(stopped)) == (False, [("cancel", 0)])
    assert stopped.document["stopped"] == "orders-db: canceling statement due to lock timeout"
    assert (await ops("repair", "--settle", "0", "--apply")).ok
    assert (await ops("reconcile", "--settle", "0")).ok


@pytest.mark.usefixtures("passed_over")
async def test_what_has_changed_since_it_was_found_is_looked_at_again_and_left(ops: Ops, shop: Shop) -> None:
    """By a transaction that ends just now, so that only its lock says so."""
    await shop.order(10, "done", "released")
    async with shop.orders.transaction():
        await shop.orders.execute("UPDATE orders SET status = 'cancelled' WHERE id = 10")
        await shop.orders.execute("INSERT INTO order_history (order_id, status) VALUES (10, 'cancelled')")
        repairing = asyncio.ensure_future(ops("repair", "--settle", "0", "--apply"))
        await eventually(lambda: shop.orders.fetch("SELECT FROM pg_locks WHERE NOT granted"))
    repaired = await repairing

    assert (repaired.ok, steps(repaired)) == (True, [])
    assert (await ops("reconcile", "--settle", "0")).ok
