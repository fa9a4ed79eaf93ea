"""Counts the events that wait for the broker, in both services."""

import argparse
from collections.abc import Mapping
from typing import Any

from ops.databases import Snapshot, snapshot
from ops.output import Answer, table
from ops.settings import DatabaseUrls

# An event's time is the start of its transaction, which may be later than the start of this one: hence `greatest`.
_WAITING = """
SELECT type, count(*) AS rows, greatest(0, extract(epoch FROM now() - min(created_at)))::float8 AS oldest_seconds
FROM outbox
GROUP BY type
ORDER BY type
"""


async def run(environ: Mapping[str, str], _options: argparse.Namespace) -> Answer:
    """Raises SettingsError or OpsError."""
    urls = DatabaseUrls.load(environ)
    async with snapshot(urls.products_database_url, "products-db") as products:
        found = {"products": await _waiting(products)}
    async with snapshot(urls.orders_database_url, "orders-db") as orders:
        found["orders"] = await _waiting(orders)
    rows = [
        (service, name, counted["rows"], _age(counted["oldestSeconds"]))
        for service, waiting in found.items()
        for name, counted in [("all", waiting), *waiting["types"].items()]
    ]
    return Answer(found, table(("SERVICE", "TYPE", "ROWS", "OLDEST"), rows))


async def _waiting(database: Snapshot) -> dict[str, Any]:
    types = {
        row["type"]: {"rows": row["rows"], "oldestSeconds": round(row["oldest_seconds"], 3)}
        for row in await database.fetch(_WAITING)
    }
    return {
        "rows": sum(counted["rows"] for counted in types.values()),
        "oldestSeconds": max((counted["oldestSeconds"] for counted in types.values()), default=None),
        "types": types,
    }


def _age(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds:.1f} s"
