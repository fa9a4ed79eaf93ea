"""Which index PostgreSQL walks for each query of the services, in tables of 20,000 rows."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import asyncpg
import pytest

from orders import repository as orders
from products import repository as products
from shared.contracts.requests import OrderStatus
from shared.pagination import MAX_ID
from tests.databases import fetch, owner

ROWS = {
    "orders": [
        # Orders of 200 products, a few of them pending, every 20th cancelled, every tenth with a key, every fourth of
        # one of 50 customers, every fifth with a reference.
        """
        INSERT INTO orders
            (product_id, quantity, unit_price, total_price, status, trace_id, updated_at, idempotency_key,
             customer_id, reference)
        SELECT n % 200, 1, 1, 1,
               CASE WHEN n % 1000 = 0 THEN 'pending' WHEN n % 20 = 1 THEN 'cancelled'
                    WHEN n % 7 = 0 THEN 'rejected' ELSE 'done' END,
               'trace', now() - n * interval '1 second', CASE WHEN n % 10 = 0 THEN 'key ' || n END,
               CASE WHEN n % 4 = 0 THEN 'customer ' || n % 200 END, CASE WHEN n % 5 = 0 THEN 'reference ' || n END
        FROM generate_series(1, 20000) AS n
        """,
        # Every third has a hold besides, which ends in days or has brought it to its end; one in 500 is overdue.
        """
        UPDATE orders SET expires_at = now() + interval '1 day',
            status = CASE WHEN id % 5 = 0 THEN 'held' WHEN id % 20 = 1 THEN 'expired' ELSE status END
        WHERE id % 3 = 0
        """,
        "UPDATE orders SET expires_at = now() - interval '1 s' WHERE status = 'held' AND id % 500 = 0",
        # And as many orders of two products each.
        """
        INSERT INTO orders (total_price, status, trace_id, lines)
        SELECT 1, 'done', 'trace',
               json_build_array(json_build_object('productId', n % 200), json_build_object('productId', n % 200 + 1))
        FROM generate_series(1, 20000) AS n
        """,
        """
        INSERT INTO order_products (order_id, product_id, status)
        SELECT id, (line ->> 'productId')::bigint, status FROM orders, json_array_elements(lines) AS line
        """,
        "INSERT INTO order_entries (order_id, status) SELECT id, status FROM orders",
        "ANALYZE orders, order_entries, order_products",
    ],
    "products": [
        "INSERT INTO products (name, price, qty) SELECT 'Lamp', 1, 1 FROM generate_series(1, 20000)",
        # A movement of each product, and as many again of product 1.
        """
        INSERT INTO stock_movements (product_id, kind, delta)
        SELECT CASE WHEN n > 20000 THEN 1 ELSE n END, 'adjustment', 1 FROM generate_series(1, 40000) AS n
        """,
        "ANALYZE products, stock_movements",
    ],
}


class Query(NamedTuple):
    """`arguments` follow the id below which a page starts and its number of rows."""

    statement: str
    arguments: tuple[object, ...]
    walked: str


PAGES = {
    "orders": [
        Query(orders.LIST, (), "orders_pkey"),
        Query(orders.LIST_BY_STATUS, ("pending",), "orders_status"),
        Query(orders.LIST_BY_STATUS, ("rejected",), "orders_status"),
        Query(orders.LIST_BY_STATUS, ("done",), "orders_status"),  # as nearly all are
        Query(orders.LIST_BY_CUSTOMER, ("customer 4",), "orders_customer"),
    ],
    "products": [
        Query(products.LIST, (), "products_pkey"),
        Query(products.LIST_MOVEMENTS, (1,), "stock_movements_pkey"),
        Query(products.LIST_MOVEMENTS, (15_000,), "stock_movements_pkey"),
    ],
}
FEW_ORDERS: list[tuple[str, tuple[object, ...], tuple[str, ...]]] = [
    (orders.LIST_PENDING, (0, 1000, datetime.now(UTC)), ("Limit", "Index Scan Forward by orders_status")),
    (orders.FIND_BY_KEY, ("key 70",), ("LockRows", "Index Scan Forward by orders_idempotency_key")),
    # Of one row, which needs no order.
    (orders.LIST_BY_REFERENCE, (MAX_ID, 51, "reference 70"), ("Limit", "Index Scan Forward by orders_reference")),
    (orders.FIND_BY_REFERENCE, ("reference 70",), ("LockRows", "Index Scan Forward by orders_reference")),
    (orders.LOCK_OVERDUE, (500,), ("Limit", "LockRows", "Index Scan Forward by orders_held")),
]
MERGED: list[tuple[str, tuple[object, ...], list[str]]] = [
    (
        orders.LIST_BY_PRODUCT,
        (7,),
        ["orders_product_status"] * len(OrderStatus) + ["orders_later_status", "order_products_product"],
    ),
    (orders.LIST_BY_PRODUCT_AND_STATUS, (7, "done"), ["orders_product_status", "order_products_product_status"]),
    (orders.LIST_BY_PRODUCT_AND_STATUS, (5, "held"), ["orders_product_status", "order_products_product_status"]),
]


async def fill(url: str, service: str) -> None:
    for statement in ROWS[service]:
        await fetch(owner(url), statement)


async def plans(url: str, query: str, *arguments: object) -> list[tuple[str, ...]]:
    """The nodes, outermost first, of the plan for these arguments, and of the one for any.

    A prepared statement gets the latter after a few executions, if it seems to cost no more.
    """
    connection = await asyncpg.connect(url, timeout=20, command_timeout=20)
    try:
        found = []
        for mode in ("force_custom_plan", "force_generic_plan"):
            await connection.execute(f"SET plan_cache_mode = {mode}")
            plan = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {query}", *arguments)
            found.append(tuple(_nodes(json.loads(plan)[0]["Plan"])))
        return found
    finally:
        await connection.close()


def _nodes(plan: dict[str, Any]) -> Iterator[str]:
    name = plan["Node Type"]
    yield f"{name} {plan['Scan Direction']} by {plan['Index Name']}" if "Index Name" in plan else name
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


@pytest.mark.parametrize("service", ["orders", "products"])
async def test_every_page_walks_its_index(orders_database_url: str, products_database_url: str, service: str) -> None:
    url = {"orders": orders_database_url, "products": products_database_url}[service]
    await fill(url, service)

    for below in (MAX_ID, 15_000):
        for query in PAGES[service]:
            found = await plans(url, query.statement, below, 51, *query.arguments)
            assert found == [("Limit", f"Index Scan Backward by {query.walked}")] * 2, query


async def test_a_query_for_a_few_orders_walks_an_index(orders_database_url: str) -> None:
    await fill(orders_database_url, "orders")

    for statement, arguments, plan in FEW_ORDERS:
        assert await plans(orders_database_url, statement, *arguments) == [plan] * 2, statement
    # There are at most six rows to sort: one for each status.
    for plan in await plans(orders_database_url, orders.GET_HISTORY, 70):
        scans = {node for node in plan if "Scan" in node and "by order" not in node}
        assert (plan[0], scans) == ("Sort", {"Subquery Scan"}), plan
    for plan in await plans(orders_database_url, orders.LIST_UNANSWERED, 60.0, 15.0, datetime.now(UTC), 10_000):
        assert any("orders_unanswered" in node for node in plan), plan
        assert "Seq Scan" not in plan


async def test_a_page_of_a_product_walks_the_orders_of_one_line_and_those_of_several(orders_database_url: str) -> None:
    await fill(orders_database_url, "orders")

    for below in (MAX_ID, 15_000):
        for statement, arguments, indexes in MERGED:
            for plan in await plans(orders_database_url, statement, below, 51, *arguments):
                walked = [node.removeprefix("Index Only Scan Backward by ") for node in plan if "Only" in node]
                assert (walked, plan[-1]) == (indexes, "Index Scan Forward by orders_pkey"), plan
                assert not {"Seq Scan", "Hash Join"} & {*plan}
                # Each walk stops after a page, and so does what they found together.
                assert plan.count("Limit") == len(indexes) + 1
