"""What the services' own roles may do with the rows of each table: what their statements do, and no more.

The ledger of the stock and the history of the orders are added to and not changed. A `FOR UPDATE` needs UPDATE too.
"""

from collections.abc import Mapping

_EVENTS = {"outbox": "SELECT, INSERT, UPDATE, DELETE", "parked_events": "SELECT, INSERT"}
OF_SERVICES: Mapping[str, Mapping[str, str]] = {
    "orders": {
        "orders": "SELECT, INSERT, UPDATE",
        "order_products": "SELECT, INSERT, UPDATE",
        "order_history": "SELECT, INSERT",
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
