"""The outboxes of both services: counts the events that wait for the broker, and settles those that are parked."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from ops.databases import DatabaseUrls, Session, session, snapshot
from ops.errors import OpsError
from ops.output import Answer, printable, table, tables
from shared import tracing

# An event's time is the start of its transaction, which may be later than the start of this one: hence `greatest`.
_WAITING = """
SELECT type, count(*) AS rows, greatest(0, extract(epoch FROM now() - min(created_at)))::float8 AS oldest_seconds
FROM outbox
GROUP BY type
ORDER BY type
"""
# $1 holds ids, NULL for all. The columns have the names of the JSON document.
_PARKED = """
SELECT id, type, attempts, last_error AS "lastError", traceparent AS "traceId", created_at AS "createdAt",
       parked_at AS "parkedAt", payload
FROM parked_events WHERE $1::bigint[] IS NULL OR id = ANY ($1) ORDER BY id LIMIT $2
"""
_RETRY = """
WITH taken AS (DELETE FROM parked_events WHERE $1::bigint[] IS NULL OR id = ANY ($1) RETURNING *)
INSERT INTO outbox (id, type, payload, traceparent, created_at, attempts) OVERRIDING SYSTEM VALUE
SELECT id, type, payload, traceparent, created_at, attempts FROM taken ORDER BY id
RETURNING id
"""
_DROP = "DELETE FROM parked_events WHERE $1::bigint[] IS NULL OR id = ANY ($1) RETURNING id"
_HEADINGS = ("TYPE", "ID", "ATTEMPTS", "ERROR", "TRACE", "PARKED")
_SHOWN = ("type", "id", "attempts", "lastError", "traceId")


async def run(environ: Mapping[str, str], options: argparse.Namespace) -> Answer:
    """Raises SettingsError or OpsError."""
    urls = DatabaseUrls.load(environ)
    databases = {"products": urls.products_database_url, "orders": urls.orders_database_url}
    match options.action:
        case "list":
            return await _list(databases, options.limit)
        case "show":
            return await _show(databases, options.ids[0])
        case "retry":
            return await _settle(databases, options.ids, _RETRY, "retried")
        case "drop":
            return await _settle(databases, options.ids, _DROP, "dropped")
        case _:
            return await _count(databases)


async def _count(databases: Mapping[str, str]) -> Answer:
    found = {}
    for service, url in databases.items():
        async with snapshot(url, f"{service}-db") as database:
            found[service] = await _waiting(database)
    rows = [
        (service, name, counted["rows"], _age(counted["oldestSeconds"]))
        for service, waiting in found.items()
        for name, counted in [("all", waiting), *waiting["types"].items()]
    ]
    text = table(("SERVICE", "TYPE", "ROWS", "OLDEST"), rows)
    if parked := sum(waiting["parked"] for waiting in found.values()):
        text += f"\n{parked} more are parked: outbox list"
    return Answer(found, text)


async def _waiting(database: Session) -> dict[str, Any]:
    types = {
        row["type"]: {"rows": row["rows"], "oldestSeconds": round(row["oldest_seconds"], 3)}
        for row in await database.fetch(_WAITING)
    }
    [(parked,)] = await database.fetch("SELECT count(*) FROM parked_events")
    return {
        "rows": sum(counted["rows"] for counted in types.values()),
        "oldestSeconds": max((counted["oldestSeconds"] for counted in types.values()), default=None),
        "types": types,
        "parked": parked,
    }


async def _list(databases: Mapping[str, str], limit: int) -> Answer:
    found: list[dict[str, Any]] = []
    for service, url in databases.items():
        found += await _parked(service, url, None, limit - len(found))
    rows = [[*(event[name] for name in _SHOWN), f"{event['parkedAt']:%Y-%m-%d %H:%M:%S}"] for event in found]
    return Answer({"parked": found}, tables(_HEADINGS, rows) or "no parked events")


async def _show(databases: Mapping[str, str], wanted: str) -> Answer:
    for service, number in _by_service([wanted], databases).items():
        for event in await _parked(service, databases[service], number, 1):
            return Answer(event, "\n".join(f"{name}: {printable(str(value))}" for name, value in event.items()))
    raise OpsError(f"there is no parked event {wanted}")


async def _settle(databases: Mapping[str, str], wanted: Sequence[str], statement: str, done: str) -> Answer:
    """Settles all if none are named."""
    settled: list[str] = []
    asked: Mapping[str, list[int] | None] = _by_service(wanted, databases) if wanted else dict.fromkeys(databases)
    for service, numbers in asked.items():
        async with session(databases[service], f"{service}-db") as database:
            settled += [f"{service}/{row['id']}" for row in await database.fetch(statement, numbers)]
    unknown = sorted(set(wanted) - set(settled))
    text = f"{len(settled)} {done}" + "".join(f"\nthere is no parked event {each}" for each in unknown)
    return Answer({done: settled, "unknown": unknown}, text, ok=not unknown)


def _by_service(ids: Sequence[str], databases: Mapping[str, str]) -> dict[str, list[int]]:
    """The numbers of IDs such as `orders/17`; those of another form are of no event."""
    numbers: dict[str, list[int]] = {}
    for service, _, number in (each.partition("/") for each in ids):
        if service in databases and number.isascii() and number.isdigit() and number[0] != "0":
            numbers.setdefault(service, []).append(min(int(number[:20]), 2**63 - 1))
    return numbers


async def _parked(service: str, url: str, ids: list[int] | None, limit: int) -> list[dict[str, Any]]:
    async with snapshot(url, f"{service}-db") as database:
        rows = await database.fetch(_PARKED, ids, limit)
    return [{**row, "id": f"{service}/{row['id']}", "traceId": tracing.trace_id_of(row["traceId"])} for row in rows]


def _age(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds:.1f} s"
