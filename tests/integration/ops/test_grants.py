"""What the services' roles may not do in their databases; that they may do what they need the services' tests show."""

import asyncpg
import pytest

from ops.grants import OF_SERVICES
from tests.databases import as_operator, fetch

FORBIDDEN = {
    "orders": (
        "DELETE FROM orders",
        "DELETE FROM order_products",
        "UPDATE orders SET created_at = now()",
        "UPDATE orders SET trace_id = ''",
        "DELETE FROM order_entries",
        "UPDATE order_entries SET status = 'done'",
        "SELECT FROM order_entries FOR UPDATE",
        "DELETE FROM parked_events",
        "UPDATE parked_events SET payload = 'null'",
        "INSERT INTO archived_orders VALUES (1)",
        "DELETE FROM archived_orders",
        "SELECT archive_orders('{}')",
    ),
    "products": (
        "DELETE FROM products",
        "DELETE FROM stock_movements",
        "UPDATE stock_movements SET delta = 0",
        "DELETE FROM reservations",
        "UPDATE reservations SET quantity = 1",
        "UPDATE reservations SET order_uid = NULL",
        "SELECT archive_reservations('{}')",
        "DELETE FROM parked_events",
    ),
}
VIEW = "order_history"
LEDGER = ("INSERT INTO schema_migrations (version) VALUES (99)", "UPDATE schema_migrations SET checksum = ''")


@pytest.fixture(params=["orders", "products"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(name: str, orders_database_url: str, products_database_url: str) -> str:
    return {"orders": orders_database_url, "products": products_database_url}[name]


async def test_a_service_cannot_delete_what_was_sold_nor_rewrite_ledger_and_history(name: str, url: str) -> None:
    truncated = [f"TRUNCATE {table}" for table in OF_SERVICES[name] if table != VIEW]
    for statement in (*FORBIDDEN[name], *LEDGER, "DELETE FROM schema_migrations", *truncated):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await fetch(url, statement)


async def test_a_service_cannot_set_a_sequence_back(name: str, url: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await fetch(url, f"SELECT setval('{name}_id_seq', 1)")


async def test_every_table_has_its_grants(name: str, url: str) -> None:
    """A migration that adds a table needs a line in `ops.grants`, or its service cannot read it."""
    tables = await fetch(url, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    assert {table for (table,) in tables} == OF_SERVICES[name].keys()


async def test_the_operators_role_may_do_what_a_repair_and_a_correction_need(name: str, url: str) -> None:
    for table in OF_SERVICES[name].keys() - {"schema_migrations", VIEW}:
        await fetch(as_operator(url), f"DELETE FROM {table} RETURNING 1")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await fetch(as_operator(url), "DELETE FROM schema_migrations")
