"""Rows that agree are passed over, and each way in which they can disagree is found."""

import asyncio
import time
from collections.abc import Mapping
from typing import NamedTuple

import pytest

from ops import checks
from ops.databases import DatabaseUrls
from ops.differences import Kind
from ops.output import Answer
from ops.reconcile import reconcile
from tests.databases import as_admin, fetch
from tests.integration.ops.conftest import Ops
from tests.integration.ops.shop import MOVE, ONE, OTHER, PRODUCT, SEVERAL, Shop
from tests.traces import TRACE_ID
from tools.stack.servers import Servers

DELETE_MOVE = "DELETE FROM stock_movements WHERE order_id = {id} AND kind = '%s'"
CHANGE_MOVE = "UPDATE stock_movements SET %s WHERE order_id = {id} AND kind = '%s'"
MOVED = " FROM stock_movements WHERE order_id = {id} AND product_id = %s AND kind = '%s'"
SWAP_MOVES = "UPDATE stock_movements SET delta = -5 - delta WHERE order_id = {id}"
LISTED = " FROM order_products WHERE order_id = {id} AND product_id = %s"
LIST_AS = "UPDATE order_products SET status = '%s' WHERE order_id = {id} AND product_id = %s"
LIST = "INSERT INTO order_products VALUES ({id}, 7, 'done')"
REMEMBER = "INSERT INTO order_history (order_id, status) VALUES ({id}, '%s')"
FORGET = "DELETE FROM order_entries WHERE order_id = {id} AND status = '%s'"
MOVE_IN_TIME = "UPDATE order_entries SET created_at = now() - interval '%s' WHERE order_id = {id} AND status = '%s'"
ADD_UP = """
UPDATE products SET qty = (SELECT coalesce(sum(delta), 0) FROM stock_movements WHERE product_id = products.id)
"""


class Broken(NamedTuple):
    """An order as the services leave it, the statement that breaks it, and the difference to be found."""

    status: str | None
    outcome: str | None
    kind: Kind
    found: str
    products: str = "SELECT"
    orders: str = "SELECT"
    product_id: int | None = PRODUCT
    of: Mapping[int, int] = ONE
    hold: bool = False


BROKEN = [
    Broken(None, "reserved", Kind.RESERVATION_WITHOUT_ORDER, "reservation reserved, no order"),  # its order has id 0
    Broken(None, "reserved", Kind.RESERVATION_WITHOUT_ORDER, "reservation reserved, no order"),
    Broken("done", "rejected", Kind.STATUS, "reservation rejected"),
    Broken("cancelled", None, Kind.ORDER_WITHOUT_RESERVATION, "no reservation"),
    Broken(
        *("rejected", "rejected", Kind.PRODUCT_OR_QUANTITY, "order of 3 of product 8"),
        orders="UPDATE orders SET product_id = 8, quantity = 3, total_price = 3 WHERE id = {id}",
        product_id=8,
    ),
    Broken(
        *("done", "reserved", Kind.IDENTITY, "order done, reservation reserved of another order, 0000"),
        products="UPDATE reservations SET order_uid = '00000000-0000-0000-0000-000000000001' WHERE order_id = {id}",
        orders="UPDATE orders SET uid = '00000000-0000-0000-0000-000000000002' WHERE id = {id}",
    ),
    # Movements that the reservation does not explain.
    Broken("done", "reserved", Kind.MOVEMENTS, "reserve of -2 of product 7, reserve of -2", MOVE % ("reserve", -2)),
    Broken("done", "reserved", Kind.MOVEMENTS, "release of 2 of product 7", MOVE % ("release", 2)),
    Broken("rejected", "rejected", Kind.MOVEMENTS, "reserve of -2 of product 7", MOVE % ("reserve", -2)),
    Broken("cancelled", "released", Kind.MOVEMENTS, "release of 2 of product 7, release", MOVE % ("release", 2)),
    Broken(*("cancelled", "released", Kind.MOVEMENTS, "reservation released: release of 2"), DELETE_MOVE % "reserve"),
    Broken("cancelled", "released", Kind.MOVEMENTS, "adjustment of 1 of product 7", MOVE % ("adjustment", 1)),
    Broken("pending", None, Kind.MOVEMENTS, "no reservation: reserve of -2", MOVE % ("reserve", -2)),
    # Movements that are missing, too small, or of another product.
    Broken("done", "reserved", Kind.MOVEMENTS, "reservation reserved: none", DELETE_MOVE % "reserve"),
    Broken("cancelled", "released", Kind.MOVEMENTS, "released: reserve of -2", DELETE_MOVE % "release"),
    *(
        Broken(status, outcome, Kind.MOVEMENTS, f"{kind} of {found}", CHANGE_MOVE % (change, kind))
        for status, outcome, kind, delta in (
            ("done", "reserved", "reserve", -2),
            ("cancelled", "released", "reserve", -2),
            ("cancelled", "released", "release", 2),
        )
        for change, found in (
            ("delta = 1", "1 of product 7"),
            ("product_id = 6", f"{delta} of product 6"),
            ("product_id = 8", f"{delta} of product 8"),
        )
    ),
    # Histories that do not lead to the status.
    Broken("done", "reserved", Kind.HISTORY, "pending, done, rejected", orders=REMEMBER % "rejected"),
    Broken("done", "reserved", Kind.HISTORY, "done, pending", orders=MOVE_IN_TIME % ("1 day", "done")),
    Broken(
        "done",
        "reserved",
        Kind.HISTORY,
        "done, pending",
        orders="UPDATE orders SET created_at = now() WHERE id = {id}",
    ),
    Broken("cancelled", "released", Kind.HISTORY, "cancelled, done", orders=MOVE_IN_TIME % ("59 minutes", "done")),
    Broken(None, None, Kind.HISTORY, "no order: done", orders=REMEMBER % "done", product_id=None),
    # Only the products of an order of several are listed.
    Broken("done", "reserved", Kind.HISTORY, "pending, done, product 7 done", orders=LIST),
]
# Of an order of two products, with a hold.
BROKEN_OF_BOTH = [
    Broken("held", "reserved", Kind.STATUS, "order held for 3600 s, reservation reserved"),
    Broken("held", "released", Kind.STATUS, "reservation released"),
    Broken("held", None, Kind.ORDER_WITHOUT_RESERVATION, "order held"),
    Broken("done", "held", Kind.STATUS, "order done for 3600 s, reservation held"),
    Broken("expired", "held", Kind.STATUS, "order expired for 3600 s, reservation held"),
    Broken("expired", None, Kind.ORDER_WITHOUT_RESERVATION, "order expired"),
    Broken(
        *("rejected", "rejected", Kind.PRODUCT_OR_QUANTITY, "2 of product 7, 3 of product 9, reservation of 2 of pro"),
        "DELETE FROM reservations WHERE order_id = {id} AND line = 1",
    ),
    Broken(
        *("rejected", "rejected", Kind.PRODUCT_OR_QUANTITY, "reservation of 3 of product 9, 2 of product 7"),
        "UPDATE reservations SET line = line + 2 WHERE order_id = {id} AND line = 0",
    ),
    Broken("held", "held", Kind.MOVEMENTS, "-2 of product 7", "DELETE" + MOVED % (OTHER, "reserve")),
    Broken("held", "held", Kind.MOVEMENTS, "-3 of product 9", "DELETE" + MOVED % (PRODUCT, "reserve")),
    Broken("done", "reserved", Kind.MOVEMENTS, "reserved: reserve of -3 of product 7, reserve of -2 of", SWAP_MOVES),
    Broken("expired", "released", Kind.MOVEMENTS, "release of 2", "DELETE" + MOVED % (OTHER, "release")),
    Broken("held", "held", Kind.MOVEMENTS, "release of 2 of product 7, reserve of -3", MOVE % ("release", 2)),
    Broken("held", "held", Kind.HISTORY, "pending, held, done", orders=REMEMBER % "done"),
    Broken("expired", "released", Kind.HISTORY, "order expired: pending, expired", orders=FORGET % "held"),
    Broken("expired", "released", Kind.HISTORY, "held, pending", orders=MOVE_IN_TIME % ("2 hours", "held")),
    Broken("done", "reserved", Kind.HISTORY, "done, held", orders=MOVE_IN_TIME % ("59 minutes", "held")),
    Broken(
        *("cancelled", "released", Kind.HISTORY, "expired"),
        orders=f"{REMEMBER % 'expired'}; {MOVE_IN_TIME % ('1 hour', 'expired')}",
    ),
    Broken("held", "held", Kind.HISTORY, "pending, held, product 9 held", orders="DELETE" + LISTED % PRODUCT),
    Broken("held", "held", Kind.HISTORY, "product 7 held, product 9 done", orders=LIST_AS % ("done", OTHER)),
]
BROKEN += [broken._replace(of=SEVERAL, hold=True, product_id=None) for broken in BROKEN_OF_BOTH]


async def look(ops: Ops, *arguments: str) -> Answer:
    return await ops("reconcile", "--settle", "0", *arguments)


def kinds(answer: Answer) -> list[tuple[str, int | None, int | None]]:
    return [(found["kind"], found["orderId"], found["productId"]) for found in answer.document["differences"]]


async def test_empty_databases_agree(ops: Ops, products_url: str, orders_url: str) -> None:
    answer = await look(ops)

    assert answer.ok
    assert answer.text == "products: 0, orders: 0, reservations: 0\ndifferences: 0, unfinished orders: 0"


async def test_every_state_that_is_right_agrees(ops: Ops, shop: Shop) -> None:
    # Two transactions that wait for each other may commit in the other order, and their times differ by little.
    await shop.orders.execute((MOVE_IN_TIME % ("1 hour 9 seconds", "done")).format(id=1001))

    answer = await look(ops)

    assert answer.ok
    summary = {"products": 2, "orders": 13, "reservations": 12, "differences": 0, "unfinished": 0, "complete": True}
    assert answer.document == {"differences": [], "unfinished": [], "summary": summary}


async def test_each_way_in_which_an_order_can_disagree_is_found(ops: Ops, shop: Shop) -> None:
    for product_id in (PRODUCT - 1, PRODUCT + 1):
        await shop.product(product_id, 4, 4)
    for order_id, broken in enumerate(BROKEN):
        if broken.status is not None:
            age = "1 s" if broken.status == "pending" else "1h"
            await shop.order(order_id, broken.status, broken.outcome, age=age, of=broken.of, hold=broken.hold)
        elif broken.outcome is not None:
            await shop.reserve(order_id, broken.outcome)
        await shop.products.execute(broken.products.format(id=order_id))
        await shop.orders.execute(broken.orders.format(id=order_id))
    await shop.products.execute(ADD_UP)

    answer = await look(ops)

    found = {difference["orderId"]: difference for difference in answer.document["differences"]}
    assert not answer.ok
    assert len(found) == len(answer.document["differences"])
    assert {order_id: (each["kind"], each["productId"], each["traceId"]) for order_id, each in found.items()} == {
        order_id: (broken.kind, broken.product_id, broken.status and TRACE_ID)
        for order_id, broken in enumerate(BROKEN)
    }
    for order_id, broken in enumerate(BROKEN):
        assert broken.found in found[order_id]["found"], broken


async def test_each_way_in_which_the_stock_can_disagree_is_found(
    ops: Ops, shop: Shop, products_url: str, servers: Servers
) -> None:
    admin_url = as_admin(servers.postgres, products_url)
    await fetch(admin_url, "ALTER TABLE products DROP CONSTRAINT products_qty_check")
    await shop.product(20, qty=6, moved=5)
    await shop.product(21, qty=5, moved=None)
    await shop.product(23, qty=-1, moved=-1)
    await shop.products.execute("""
        INSERT INTO stock_movements (product_id, kind, delta) VALUES (22, 'initial', 0), (7, 'reserve', -2);
        UPDATE products SET qty = qty - 2 WHERE id = 7;
        UPDATE products SET held = held + 1 WHERE id = 9;
    """)

    answer = await look(ops)

    found = [
        (each["kind"], each["productId"], each["orderId"], each["found"], each["expected"], each["traceId"])
        for each in answer.document["differences"]
    ]
    assert found == [
        (Kind.HELD, 9, None, "4 held", "3, the sum of the held reservations", None),
        (Kind.STOCK, 20, None, "qty 6", "5, the sum of its movements", None),
        (Kind.STOCK, 21, None, "qty 5", "0, the sum of its movements", None),
        (Kind.STOCK, 22, None, "no product", "0, the sum of its movements", None),
        (Kind.BELOW_ZERO, 23, None, "qty -1", "0 or more", None),
        (Kind.MOVEMENTS, 7, None, "no reservation: reserve of -2 of product 7", "a reservation", None),
    ]


async def test_a_young_order_may_be_on_its_way_and_an_old_one_is_reported(ops: Ops, shop: Shop) -> None:
    await shop.order(10, "pending", "reserved", age="30 seconds")
    await shop.order(11, "cancelled", None, age="30 seconds")
    await shop.order(12, "expired", "held", age="30 seconds", hold=True)
    await shop.order(13, "done", "held", age="30 seconds", hold=True)

    young, old = await look(ops), await look(ops, "--older-than", "20")

    assert (young.ok, young.document["unfinished"]) == (True, [])
    expected = {11: Kind.ORDER_WITHOUT_RESERVATION, 12: Kind.STATUS, 13: Kind.STATUS}
    assert kinds(old) == [(kind, order_id, PRODUCT) for order_id, kind in expected.items()]
    [unfinished] = old.document["unfinished"]
    assert (unfinished["orderId"], old.document["summary"]["unfinished"]) == (10, 1)
    assert unfinished["expected"] == "decided or cancelled within 20 s"


async def test_of_what_a_newer_release_has_written_nothing_is_said_but_that(
    ops: Ops, shop: Shop, servers: Servers, *, products_url: str, orders_url: str
) -> None:
    """Neither `reconcile` nor `repair` knows what it means, and what this release knows of the others stays true."""
    for url, table, constraint in (
        (orders_url, "orders", "orders_known_status"),
        (products_url, "reservations", "reservations_known_outcome"),
    ):
        await fetch(as_admin(servers.postgres, url), f"ALTER TABLE {table} DROP CONSTRAINT {constraint}")
    for order_id, status, outcome in ((10, "shipped", "reserved"), (11, "done", "packed"), (12, "done", "reserved")):
        await shop.order(order_id, status, outcome)
    await shop.orders.execute(REMEMBER.format(id=12) % "shipped")

    answer, repaired = await look(ops), await ops("repair", "--settle", "0", "--apply")

    assert (answer.ok, kinds(answer)) == (True, [])
    newer = [(each["kind"], each["orderId"], each["found"]) for each in answer.document["unfinished"]]
    assert newer == [
        (Kind.NEWER, 10, "order shipped for 3600 s, reservation reserved"),
        (Kind.NEWER, 11, "order done for 3600 s, reservation packed"),
    ]
    assert (repaired.ok, {each["step"] for each in repaired.document["actions"]}) == (True, {"numbers"})


async def test_only_what_differs_twice_is_a_difference(shop: Shop, products_url: str, orders_url: str) -> None:
    for order_id in (11, 12):
        await shop.order(order_id, "done", None)
    await shop.product(20, qty=6, moved=5)
    await shop.product(21, qty=6, moved=6)

    async def settle() -> None:
        await shop.reserve(11, "reserved")
        await shop.orders.execute((REMEMBER % "rejected").format(id=12))
        await shop.products.execute("UPDATE products SET qty = 5 WHERE id = 21")

    found = await reconcile(
        DatabaseUrls(products_database_url=products_url, orders_database_url=orders_url), 60, settle
    )

    assert [(each.kind, each.order_id, each.product_id) for each in found.differences] == [
        (Kind.ORDER_WITHOUT_RESERVATION, 12, PRODUCT),
        (Kind.STOCK, None, 20),
    ]


async def test_the_second_look_comes_after_the_pause(ops: Ops, shop: Shop) -> None:
    await shop.order(11, "done", None)

    started = time.monotonic()
    await ops("reconcile", "--settle", "0.3")  # both looks take some hundredths

    assert time.monotonic() - started >= 0.3


async def test_differences_that_are_cut_are_counted(ops: Ops, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    await shop.orders.execute("INSERT INTO order_entries SELECT id, 'expired' FROM orders WHERE id < 1007")

    printed = await look(ops, "--limit", "2")
    monkeypatch.setattr(checks, "MOST_KEPT", 6)
    exactly = await look(ops)
    monkeypatch.setattr(checks, "MOST_KEPT", 3)
    cut = await look(ops)

    assert [order_id for _, order_id, _ in kinds(printed)] == [1001, 1002]
    assert printed.document["summary"]["differences"] == 6
    assert printed.text.startswith("history: 6, of which 2 are shown\n")
    assert (exactly.document["summary"]["complete"], len(kinds(exactly))) == (True, 6)
    assert (cut.ok, cut.document["summary"]["complete"], len(kinds(cut))) == (False, False, 3)
    assert cut.text.splitlines()[-1] == "more differed at the first look, of which 3 were looked at again"


async def test_orders_that_move_on_meanwhile_are_no_differences(ops: Ops, shop: Shop) -> None:
    """Orders are placed, decided and cancelled without a pause while the databases are compared."""

    async def trade() -> None:
        for order_id in range(100, 160, 2):
            await shop.order(order_id, "done", "reserved", age="0 seconds")
            await shop.order(order_id + 1, "cancelled", "released", age="0 seconds")

    trading = asyncio.create_task(trade())
    looks = 0
    await ops("repair", "--apply")  # of the numbers, which no sequence has given out
    while not trading.done() or looks < 2:
        assert (await ops("reconcile", "--settle", "0.3")).ok
        assert (await ops("repair", "--settle", "0.3", "--apply")).ok
        looks += 1
    await trading
