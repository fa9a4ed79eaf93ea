"""What a round left behind, read from servers, and told."""

import json
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from aiohttp import web
from redis.asyncio import Redis

from ops.errors import OpsError
from shared.messaging.topology import ORDERS_STOCK, PRODUCTS_ORDERS, QUEUES
from tests.api import serve
from tests.broker import Vhost, event
from tests.databases import fetch
from tests.waiting import eventually
from tools.faults import state
from tools.faults.difference import Breach, Difference
from tools.faults.evidence import Evidence
from tools.faults.plan import Operation, Plan
from tools.faults.plan import Product as Planned
from tools.faults.record import Attempt, Outcome, Record
from tools.faults.state import Entry, Order, Places, Product, Reservation
from tools.faults.story import story
from tools.faults.views import Answer, Cached
from tools.stack.servers import Servers

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
async def replica() -> AsyncIterator[str]:
    """Answers every path with that path, but for a page that is no JSON."""

    async def respond(request: web.Request) -> web.Response:
        if request.path == "/orders/product/7":
            return web.Response(status=502, text="Bad Gateway")
        return web.json_response({"path": request.path})

    app = web.Application()
    app.router.add_get("/{path:.*}", respond)
    async with serve(app) as url:
        yield url


@pytest.fixture
async def rows(products_database_url: str, orders_database_url: str) -> dict[str, str]:
    """With one product and one order of it."""
    for statement in (
        "INSERT INTO products (id, name, price, qty, version) VALUES (7, 'Lamp', 19.9, 98, 2)",
        "INSERT INTO stock_movements (product_id, kind, delta) VALUES (7, 'initial', 100)",
        "INSERT INTO stock_movements (product_id, order_id, kind, delta) VALUES (7, 1, 'reserve', -2)",
        "INSERT INTO reservations (order_id, product_id, quantity, outcome) VALUES (1, 7, 2, 'reserved')",
    ):
        await fetch(products_database_url, statement)
    for statement in (
        f"""INSERT INTO orders (id, product_id, quantity, unit_price, total_price, status, trace_id, idempotency_key)
            VALUES (1, 7, 2, 19.9, 39.8, 'done', '{TRACE_ID}', 'k')""",
        "INSERT INTO order_history (order_id, status, created_at) VALUES (1, 'done', now() - interval '1 hour')",
        f"INSERT INTO order_history (order_id, status, trace_id) VALUES (1, 'pending', '{TRACE_ID}')",
    ):
        await fetch(orders_database_url, statement)
    return {"products-db": products_database_url, "orders-db": orders_database_url}


@pytest.fixture
async def places(servers: Servers, vhost: Vhost, rows: dict[str, str], replica: str, tmp_path: Path) -> Places:
    """With the queues of the services."""
    await vhost.declare()
    return Places(
        databases=rows,
        redises={"products-redis": servers.products_redis.url},
        replicas={"products-1": replica, "orders-2": replica},
        amqp_url=vhost.url,
        broker_ui_url=servers.rabbitmq.ui_url,
        logs=[tmp_path / "products-1.log", tmp_path / "gateway.log"],
    )


async def test_what_the_databases_hold(places: Places) -> None:
    found = await state.read(places)

    assert found.products == [Product(7, "Lamp", Decimal("19.90"), 98, 2)]
    assert [(m.id > 0, m.product_id, m.kind, m.delta, m.order_id, m.reason) for m in found.movements] == [
        (True, 7, "initial", 100, None, None),
        (True, 7, "reserve", -2, 1, None),
    ]
    assert found.reservations == [Reservation(1, 7, 2, "reserved", None)]
    assert found.orders == [Order(1, 7, 2, Decimal("19.90"), Decimal("39.80"), "done", None, TRACE_ID, "k")]
    assert found.history == {1: [Entry("pending", None, TRACE_ID), Entry("done", None, None)]}
    assert found.outboxes == {"products-db": 0, "orders-db": 0}


async def test_what_is_cached_and_answered(places: Places, redis: Redis) -> None:
    await redis.set("product:7", b'{"id":7}', px=30_000)
    await redis.set("product:8", b"null")
    await redis.set("product:9:lease", b"f00", px=30_000)

    found = await state.read(places)

    entries = {entry.key: entry for entry in found.cached}
    assert entries.keys() == {"product:7", "product:8"}
    assert 20 < entries["product:7"].seconds <= 30
    assert entries["product:7"].content == {"id": 7}
    assert entries["product:8"] == Cached("products-redis", "product:8", None, -1)
    assert list(found.answers) == [
        Answer("products-1", "/products/7", 200, {"path": "/products/7"}),
        Answer("orders-2", "/orders/product/7", 502, None),
        Answer("orders-2", "/orders/1", 200, {"path": "/orders/1"}),
    ]


async def test_late_drops_show_in_the_logs(places: Places) -> None:
    line = {"timestamp": "2026-01-01T00:00:00Z", "level": "warning", "service": "products", "event": "other"}
    places.logs[0].write_text(json.dumps({**line, "note": "cache bypassed"}) + "\n")
    assert not (await state.read(places)).late_drops

    places.logs[0].write_text(json.dumps({**line, "event": "cache bypassed"}) + "\n")
    assert (await state.read(places)).late_drops


async def test_dead_letters_are_read_and_stay(places: Places, vhost: Vhost) -> None:
    await vhost.publish(ORDERS_STOCK.dead, b"[]", exchange="")

    for _ in range(2):
        [letter] = (await state.read(places)).dead_letters
        assert letter.queue == ORDERS_STOCK.name


async def test_settled_with_nothing_under_way(places: Places) -> None:
    assert await state.settled(places)


@pytest.mark.parametrize(
    ("database", "statement"),
    [
        ("orders-db", "UPDATE orders SET status = 'pending'"),
        ("orders-db", "INSERT INTO outbox (type, payload) VALUES ('order.created', '{}')"),
        ("products-db", "INSERT INTO outbox (type, payload) VALUES ('order.updated', '{}')"),
    ],
)
async def test_not_settled_with_rows_that_wait(places: Places, database: str, statement: str) -> None:
    await fetch(places.databases[database], statement)

    assert not await state.settled(places)
    assert sum((await state.read(places)).outboxes.values()) == statement.count("outbox")


async def test_not_settled_with_events_that_wait(places: Places, vhost: Vhost) -> None:
    await vhost.publish_batch(event("order.created", {}), event("order.created", {}))

    assert not await state.settled(places)
    assert (await state.read(places)).queues == {**{queue.name: 0 for queue in QUEUES}, PRODUCTS_ORDERS.name: 1}


async def test_not_settled_with_an_event_that_is_handled(places: Places, vhost: Vhost) -> None:
    await vhost.publish_batch(event("order.created", {}))
    async with vhost.channel() as channel:
        await channel.basic_get(PRODUCTS_ORDERS.name)

        async def is_noticed() -> bool:
            return not await state.settled(places)

        await eventually(is_noticed, within=20)  # the broker counts every five seconds


async def test_a_queue_that_is_gone(places: Places, vhost: Vhost) -> None:
    async with vhost.channel() as channel:
        await channel.queue_delete(ORDERS_STOCK.name)

    assert not await state.settled(places)
    assert ORDERS_STOCK.name not in (await state.read(places)).queues


async def test_a_database_that_is_away(places: Places) -> None:
    gone = {**places.databases, "orders-db": places.databases["orders-db"] + "_gone"}

    with pytest.raises(OpsError, match=r"^orders-db: "):
        await state.settled(Places(gone, {}, {}, places.amqp_url, places.broker_ui_url))


async def test_a_story_has_what_was_asked_the_rows_and_the_log(places: Places) -> None:
    operation = Operation(0.5, "order", 0, 2, key="k")
    cancel = Operation(0.9, "cancel", 0, of=0)
    told = Outcome(operation, [Attempt(TRACE_ID, 0.5, 0.6, 201, {"data": {"id": 1}})])
    failed = Outcome(cancel, [Attempt("c" * 32, 0.9, 1.0, error="reset")])
    record = Record([7], [told, failed, Outcome(Operation(2.0, "read", 0), [Attempt("d" * 32, 2.0, 2.1, 200, {})])])
    plan = Plan(1, 3.0, (Planned("19.90", 100),), tuple(outcome.operation for outcome in record.outcomes), ())
    for path, trace_id in zip(places.logs, (TRACE_ID, "c" * 32), strict=True):
        line = {"timestamp": "2026-01-01T00:00:00Z", "level": "info", "service": path.stem, "event": "request"}
        path.write_text(json.dumps({**line, "trace_id": trace_id}) + "\n" + json.dumps({**line, "trace_id": "d" * 32}))
    evidence = Evidence(plan, record, await state.read(places))

    lines = (await story(Difference(Breach.LOST, "order 1", TRACE_ID), evidence, places)).splitlines()

    assert lines[0] == "accepted order lost: order 1"
    sections = by_heading(lines[1:])
    assert {name: len(found) for name, found in sections.items() if found != ["(nothing)"]} == {
        "clients": 2,
        "orders": 1,
        "order_history": 2,
        "reservations": 1,
        "stock_movements": 1,
        "logs": 2,
    }
    assert "reset" in sections["clients"][1]
    assert '"delta":-2' in sections["stock_movements"][0]


def by_heading(lines: Sequence[str]) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    heading = ""
    for line in lines:
        if line.startswith("    "):
            sections[heading].append(line.strip())
        else:
            heading = line.strip()
            sections[heading] = []
    return sections
