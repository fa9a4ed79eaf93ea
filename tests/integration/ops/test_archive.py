"""Closed orders leave both databases for files, whatever happens meanwhile, and what is left stays right."""

import asyncio
import gzip
import json
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ops import output
from ops.errors import OpsError
from ops.output import Answer
from tests.api import Api
from tests.broker import Vhost, event
from tests.databases import Databases, as_operator, fetch
from tests.e2e.programs import program
from tests.integration.ops.conftest import Ops
from tests.integration.ops.shop import ONE, OTHER, PRODUCT, SEVERAL, Shop
from tests.integration.services.verdicts import announced, verdict
from tests.waiting import eventually, reaches

Archive = Callable[..., Awaitable[Answer]]

OLD, OLDER = "100 days", "150 days"
CLOSED = (
    ("done", "reserved", ONE, False),
    ("done", "reserved", SEVERAL, True),
    ("rejected", "rejected", SEVERAL, False),
    ("cancelled", "released", ONE, False),
    ("cancelled", "rejected", ONE, False),
    ("expired", "released", SEVERAL, True),
)
IDS = range(10, 10 + len(CLOSED))
MANY = range(5_001, 6_201)
FILL_ORDERS = f"""
INSERT INTO orders (id, product_id, quantity, unit_price, total_price, status, trace_id, created_at, updated_at)
SELECT n, 7, 1, 1, 1, 'done', 'trace', at, at FROM generate_series({MANY.start}, {MANY.stop - 1}) AS n,
    (SELECT now() - interval '100 days' AS at) AS old
"""
FILL_STOCK = f"""
INSERT INTO reservations (order_id, product_id, quantity, outcome)
SELECT n, 7, 1, 'reserved' FROM generate_series({MANY.start}, {MANY.stop - 1}) AS n;
INSERT INTO stock_movements (product_id, order_id, kind, delta)
SELECT 7, n, 'reserve', -1 FROM generate_series({MANY.start}, {MANY.stop - 1}) AS n;
INSERT INTO stock_movements (product_id, kind, delta) VALUES (7, 'adjustment', {len(MANY)});
"""
RESTORED = "SELECT json_populate_record(NULL::{0}, $1)::text"


def uid(order_id: int) -> str:
    return f"00000000-0000-7000-8000-{order_id:012}"


async def close_orders(shop: Shop) -> None:
    """One of each way to be closed, of two months, and numbers that are given out."""
    for order_id, (status, outcome, of, hold) in zip(IDS, CLOSED, strict=True):
        await shop.order(order_id, status, outcome, age=OLD if order_id % 2 else OLDER, of=of, hold=hold)
    identity = "'00000000-0000-7000-8000-' || lpad({0}::text, 12, '0')"
    await shop.orders.execute(f"UPDATE orders SET uid = ({identity.format('id')})::uuid WHERE id < 1000")
    await shop.products.execute(
        f"UPDATE reservations SET order_uid = ({identity.format('order_id')})::uuid WHERE order_id < 1000"
    )


async def rows(shop: Shop) -> list[list[str]]:
    """All that the two databases say of orders and of stock."""
    return [
        [text for (text,) in await database.fetch(f"SELECT t::text FROM {table} AS t ORDER BY 1")]
        for database, tables in (
            (shop.orders, ("orders", "order_history", "order_products", "archived_orders")),
            (shop.products, ("products", "reservations", "stock_movements")),
        )
        for table in tables
    ]


def files(folder: Path, pattern: str = "*.gz") -> list[Path]:
    return sorted(folder.glob(pattern))


def lines(folder: Path) -> dict[int, dict[str, Any]]:
    """What the files hold, by number of the order; each is there once."""
    content = b"".join(gzip.decompress(path.read_bytes()) for path in files(folder))
    found = [json.loads(line, parse_float=str) for line in content.splitlines()]
    assert len({line["order"]["id"] for line in found}) == len(found)
    return {line["order"]["id"]: line for line in found}


async def agrees(ops: Ops) -> bool:
    """Whether there is nothing to find and nothing to mend."""
    return (await ops("reconcile", "--settle", "0")).ok and (await ops("repair", "--settle", "0")).ok


@pytest.fixture
async def archive(ops: Ops, shop: Shop, tmp_path: Path) -> Archive:
    await close_orders(shop)
    await ops("repair", "--settle", "0", "--apply")  # of the numbers, which no sequence has given out
    return lambda *more: ops("archive", "--before", "2100-01-01", "--directory", str(tmp_path), *more)


async def test_what_is_closed_is_in_the_files_and_no_longer_in_the_databases(
    archive: Archive, ops: Ops, shop: Shop, tmp_path: Path
) -> None:
    await shop.orders.execute("""UPDATE orders SET metadata = E'{"a":\\n1}' WHERE id = 10""")
    before = await rows(shop)
    stock = await shop.products.fetch("SELECT id, qty, held FROM products ORDER BY id")
    [movements, reservations] = [
        {row["r"] for row in await shop.products.fetch(f"SELECT t::text AS r FROM {t} AS t WHERE order_id < 1000")}
        for t in ("stock_movements", "reservations")
    ]

    tried = await archive("--dry-run")
    assert (tried.document["written"], tried.document["removed"], await rows(shop)) == (6, 0, before)
    assert files(tmp_path, "*") == [tmp_path / "lock"]
    done = await archive()

    counts = [(file["written"], file["removed"]) for file in done.document["files"]]
    assert counts == [(3, 3), (3, 3)]
    assert {path.stat().st_mode & 0o777 for path in files(tmp_path)} == {0o444}
    assert done.text.splitlines()[-1] == "written: 6, removed: 6, stay: 0"
    kept = lines(tmp_path)
    assert list(kept) == [10, 12, 14, 11, 13, 15]
    restored = [
        {
            await database.fetchval(RESTORED.format(table), json.dumps(row))
            for line in kept.values()
            for row in of(line)
        }
        for database, table, of in (
            (shop.orders, "orders", lambda line: [line["order"]]),
            (shop.products, "reservations", lambda line: line["reservations"]),
            (shop.products, "stock_movements", lambda line: line["movements"]),
        )
    ]
    of_orders = {row.replace("\n", " ") for row in before[0] if int(row[1:].split(",")[0]) < 1000}
    assert restored == [of_orders, reservations, movements]
    assert [entry["status"] for entry in kept[13]["history"]] == ["pending", "done", "cancelled"]
    left = await shop.products.fetch("SELECT order_id, outcome FROM reservations WHERE order_id < 1000 ORDER BY 1")
    assert [tuple(row) for row in left] == [(order_id, "archived") for order_id in IDS]
    moved = await shop.products.fetch("SELECT product_id, delta FROM stock_movements WHERE kind = 'archived'")
    assert {tuple(row) for row in moved} == {(PRODUCT, -4), (OTHER, -3)}
    assert await shop.products.fetch("SELECT id, qty, held FROM products ORDER BY id") == stock
    assert await shop.orders.fetchval("SELECT count(*) FROM order_entries WHERE order_id < 1000") == 0
    assert await agrees(ops)
    assert (await archive()).text == "FILE  WRITTEN  REMOVED  BYTES\nwritten: 0, removed: 0, stay: 0"


async def test_what_is_not_closed_stays_and_is_counted(archive: Archive, ops: Ops, shop: Shop) -> None:
    for order_id, status, outcome, age in (
        (30, "pending", None, OLD),
        (31, "held", "held", OLD),
        (32, "done", "held", OLD),
        (33, "done", None, OLD),
        (34, "cancelled", None, OLD),
        (35, "done", "reserved", OLD),  # in the outbox
        (36, "done", "reserved", OLD),  # parked
        (37, "done", "reserved", OLD),  # its reservation is of another order
        (38, "done", "reserved", "47 hours"),
        (29, "done", "reserved", OLD),  # but it was pending until two days ago
    ):
        await shop.order(order_id, status, outcome, age=age, hold="held" in (status, outcome))
    await shop.orders.execute("""
        INSERT INTO outbox (type, payload) VALUES ('order.cancelled', '{"orderId": 35}');
        INSERT INTO parked_events (id, type, payload, created_at, attempts, last_error)
        VALUES (1, 'order.cancelled', '{"orderId": 36}', now(), 10, ''), (2, 'order.shipped', '{}', now(), 10, '');
        UPDATE orders SET uid = gen_random_uuid() WHERE id = 37;
        UPDATE orders SET updated_at = now() - interval '47 hours' WHERE id = 29;
    """)
    await shop.products.execute("UPDATE reservations SET order_uid = gen_random_uuid() WHERE order_id = 37")
    found = (await ops("reconcile", "--settle", "0")).document["differences"]

    done = await archive()

    assert [done.document[name] for name in ("written", "removed", "stay")] == [6, 6, 8]
    assert await shop.orders.fetchval("SELECT count(*) FROM orders WHERE id BETWEEN 29 AND 38") == 10
    again = (await ops("reconcile", "--settle", "0")).document["differences"]
    assert [(each["orderId"], each["kind"]) for each in again] == [(each["orderId"], each["kind"]) for each in found]


@pytest.mark.parametrize(
    "change", ["status = 'cancelled', updated_at = now()", "metadata = '{}'"], ids=["cancelled", "its metadata"]
)
async def test_an_order_that_is_changed_after_it_was_written_stays(archive: Archive, shop: Shop, change: str) -> None:
    async with shop.orders.transaction():
        await shop.orders.execute(f"UPDATE orders SET {change} WHERE id = 10")
        archiving = asyncio.ensure_future(archive())
        await eventually(lambda: shop.orders.fetch("SELECT FROM pg_locks WHERE NOT granted"))
    done = await archiving

    assert (done.document["written"], done.document["removed"]) == (6, 5)
    assert await shop.orders.fetchval("SELECT count(*) FROM orders WHERE id = 10") == 1
    assert await shop.products.fetchval("SELECT outcome FROM reservations WHERE order_id = 10") == "reserved"


@pytest.mark.parametrize(
    ("database", "lock"),
    [
        ("products", "LOCK TABLE stock_movements IN ACCESS EXCLUSIVE MODE"),
        ("orders", "LOCK TABLE archived_orders IN EXCLUSIVE MODE"),
        ("products", "SELECT FROM products FOR UPDATE"),
        ("orders", f"SELECT FROM orders WHERE id = {MANY[-1]} FOR UPDATE"),
        ("products", f"SELECT FROM reservations WHERE order_id = {MANY[-1]} FOR UPDATE"),
    ],
    ids=["reading", "orders-db", "products-db", "orders-db, second batch", "products-db, second batch"],
)
async def test_a_run_that_is_killed_goes_on_when_it_is_started_again(
    archive: Archive,
    ops: Ops,
    shop: Shop,
    tmp_path: Path,
    ops_environment: dict[str, str],
    *,
    database: str,
    lock: str,
) -> None:
    await shop.orders.execute(FILL_ORDERS)
    await shop.products.execute(FILL_STOCK)
    await ops("repair", "--settle", "0", "--apply")
    month = await shop.orders.fetchval("SELECT to_char(created_at, 'YYYY-MM') FROM orders WHERE id = $1", MANY[0])
    (tmp_path / f"orders-{month}.jsonl.part").write_bytes(b"of a run that was killed while it wrote")
    connection = shop.products if database == "products" else shop.orders
    arguments = ("archive", "--before", "2100-01-01", "--directory", str(tmp_path))
    async with program("ops", *arguments, environment=ops_environment) as running:
        async with connection.transaction():
            await connection.execute(lock)
            await eventually(lambda: connection.fetch("SELECT FROM pg_locks WHERE NOT granted"))
            await running.kill()
            # Its statement would else go on when the lock is gone, as nobody has told the server.
            await connection.fetch("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted")
            await reaches(lambda: connection.fetch("SELECT FROM pg_locks WHERE NOT granted"), [])
        assert await agrees(ops)

    await archive()

    assert (await shop.orders.fetchval("SELECT count(*) FROM archived_orders"), len(lines(tmp_path))) == (1_206, 1_206)
    assert await shop.products.fetchval("SELECT count(*) FROM reservations WHERE outcome = 'archived'") == 1_206
    assert await agrees(ops)


@pytest.mark.parametrize(
    "spoiled", [b"", gzip.compress(b""), b"\x1f\x8b spoiled"], ids=["empty", "without lines", "not gzip"]
)
async def test_a_file_that_does_not_read_as_it_was_written_removes_nothing(
    archive: Archive, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoiled: bytes
) -> None:
    before = await rows(shop)
    sync = os.fsync

    def spoil(descriptor: int) -> None:
        sync(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.suffix == ".part":
            path.write_bytes(spoiled)

    monkeypatch.setattr(os, "fsync", spoil)
    with pytest.raises(OpsError, match=str(tmp_path)):
        await archive()

    assert (await rows(shop), files(tmp_path)) == (before, [])


async def test_lines_of_an_earlier_run_stay_in_the_file_of_their_month(
    archive: Archive, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of an order that is written again are replaced, and another order that had the number is not."""
    monkeypatch.setattr(output, "_IN_PIPE", 0.0)
    await archive()
    first = lines(tmp_path)
    await shop.order(16, "done", "reserved", age=OLDER)
    await shop.order(17, "done", "reserved", age=OLD)
    await shop.order(9_010, "done", "reserved", age=OLDER)
    async with shop.orders.transaction():
        await shop.orders.execute("UPDATE orders SET metadata = '{}' WHERE id = 16")
        archiving = asyncio.ensure_future(archive())
        await eventually(lambda: shop.orders.fetch("SELECT FROM pg_locks WHERE NOT granted"))
    await archiving
    assert lines(tmp_path)[16]["order"]["metadata"] is None

    await archive()

    kept = lines(tmp_path)
    assert kept == first | {order_id: kept[order_id] for order_id in (16, 17, 9_010)}
    assert kept[16]["order"]["metadata"] == {}
    progress = re.findall(r"(\d+) of (\d+) rows", capsys.readouterr().err)
    assert ("3", "3") in progress
    assert [(done, total) for done, total in progress if int(done) > int(total)] == []


async def test_two_runs_do_not_write_into_one_directory(archive: Archive, shop: Shop, tmp_path: Path) -> None:
    async with shop.orders.transaction():
        await shop.orders.execute("LOCK TABLE archived_orders IN EXCLUSIVE MODE")
        first = asyncio.ensure_future(archive())
        await eventually(lambda: shop.orders.fetch("SELECT FROM pg_locks WHERE NOT granted"))
        with pytest.raises(OpsError, match=rf"^{tmp_path}.*unavailable"):
            await archive()
    assert (await first).document["removed"] == len(CLOSED)


async def test_a_movement_that_holds_the_archived_orders_does_not_overflow(
    archive: Archive, ops: Ops, shop: Shop
) -> None:
    await shop.products.execute(f"""
        INSERT INTO stock_movements (product_id, id, kind, delta) OVERRIDING SYSTEM VALUE
        VALUES ({PRODUCT}, 0, 'archived', -2147483648), ({PRODUCT}, 1000, 'adjustment', 2147483647),
               ({PRODUCT}, 1001, 'adjustment', 1)
    """)

    await archive()

    moved = await shop.products.fetch(f"""
        SELECT kind, delta, reason FROM stock_movements
        WHERE product_id = {PRODUCT} AND (id = 0 OR reason IS NOT NULL) ORDER BY kind
    """)
    assert list(map(tuple, moved)) == [("adjustment", -2147483648, "archived orders"), ("archived", -4, None)]
    assert await agrees(ops)


@pytest.mark.parametrize("service", ["orders", "products"])
async def test_a_database_that_is_restored_from_before_it_is_archived_again(
    archive: Archive,
    ops: Ops,
    tmp_path: Path,
    databases: Databases,
    *,
    orders_url: str,
    products_url: str,
    service: str,
) -> None:
    url = orders_url if service == "orders" else products_url
    await databases.dump(url, tmp_path / "dump")
    await archive()
    await databases.restore(url, tmp_path / "dump")

    mended = await ops("repair", "--settle", "0", "--apply")
    steps = [(action["step"], action["orderId"]) for action in mended.document["actions"]]
    assert steps == [("left", order_id) for order_id in IDS if service == "orders"]
    for path in files(tmp_path):
        path.chmod(0o644)
    done = await archive()

    assert done.document["removed"] == (len(CLOSED) if service == "orders" else 0)
    assert await agrees(ops)
    assert await fetch(as_operator(orders_url), "SELECT FROM orders WHERE id < 1000") == []
    left = "SELECT count(*), (SELECT sum(delta) FROM stock_movements WHERE kind = 'archived') FROM reservations"
    assert await fetch(as_operator(products_url), f"{left} WHERE outcome = 'archived'") == [(len(CLOSED), -7)]


async def test_an_event_of_an_archived_order_changes_nothing_and_is_answered_nothing(
    archive: Archive, shop: Shop, products_api: Api, vhost: Vhost
) -> None:
    await archive()
    before = await rows(shop)
    data = [
        {"orderId": order_id, "orderUid": uid(order_id), **(plain if of == ONE else {"lines": several})}
        for order_id, (_, _, of, _) in zip(IDS, CLOSED, strict=True)
        for plain in [{"productId": PRODUCT, "quantity": ONE[PRODUCT]}]
        for several in [[{"productId": id_, "quantity": quantity} for id_, quantity in SEVERAL.items()]]
    ]
    for kind in ("order.created", "order.cancelled", "order.expired", "order.confirmed"):
        await vhost.publish_batch(*(event(kind, each) for each in data))
    another = {"orderId": 99, "orderUid": uid(99), "productId": 404, "quantity": 1}
    await vhost.publish_batch(event("order.created", another))
    [answer] = await announced(vhost, 1, "orders.stock")
    assert answer["data"]["orderId"] == 99
    after = await rows(shop)
    assert [len(table) for table in after] == [len(table) + (number == 5) for number, table in enumerate(before)]
    assert (set(before[5]) - set(after[5]), after[6], await vhost.depth("products.orders.dead")) == (
        set(),
        before[6],
        0,
    )
    await vhost.publish_batch(event("order.created", data[0] | {"orderUid": uid(98)}))
    await reaches(lambda: vhost.depth("products.orders.dead"), 1)
    [*_, oldest] = await products_api.data(f"/products/{PRODUCT}/movements")
    assert oldest == {**oldest, "id": 0, "kind": "archived", "delta": -4, "orderId": None, "reason": None}


async def test_a_verdict_on_an_archived_order_changes_nothing(
    archive: Archive, shop: Shop, orders_api: Api, vhost: Vhost
) -> None:
    await shop.order(98, "pending", None, age="1 second")
    await archive()
    before = await rows(shop)

    for status in ("done", "held", "rejected"):
        await vhost.publish_batch(*(verdict(order_id, status, orderUid=uid(order_id)) for order_id in IDS))
    await vhost.publish_batch(verdict(98, "rejected", "insufficient_stock"))

    await reaches(lambda: shop.orders.fetchval("SELECT status FROM orders WHERE id = 98"), "rejected")
    after = await rows(shop)
    changed = [set(was) ^ set(now) for was, now in zip(before, after, strict=True)]
    assert list(map(len, changed)) == [2, 1, 0, 0, 0, 0, 0]
    assert await vhost.depth("orders.stock.dead") == 0
    assert (await orders_api.get(f"/orders/{IDS[0]}")).status == 404
