"""What the services' own roles may do with the rows of each table: what their statements do, and no more.

The ledger of the stock and the history of the orders are added to and not changed. A `FOR UPDATE` needs UPDATE too.
"""

from collections.abc import Mapping

_EVENTS = {"outbox": "SELECT, INSERT, UPDATE, DELETE", "parked_events": "SELECT, INSERT"}
# The rest of an order is as it was placed, which its history shows.
_CHANGING = "status, reason, shortages, updated_at, expires_at, metadata, idempotency_key, request_hash"
OF_SERVICES: Mapping[str, Mapping[str, str]] = {
    "orders": {
        "orders": f"SELECT, INSERT, UPDATE ({_CHANGING})",
        "order_products": "SELECT, INSERT, UPDATE",
        "order_entries": "SELECT, INSERT",
        "order_history": "SELECT, INSERT",
        "archived_orders": "SELECT",
        "schema_migrations": "SELECT",
        **_EVENTS,
    },
    "products": {
        "products": "SELECT, INSERT, UPDATE",
        "stock_movements": "SELECT, INSERT",
        "reservations": "SELECT, INSERT, UPDATE (outcome, held)",
        "idempotency_keys": "SELECT, INSERT, UPDATE, DELETE",
        "schema_migrations": "SELECT",
        **_EVENTS,
    },
}
