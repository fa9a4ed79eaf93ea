"""All that is known of the order or the request behind a difference, for a person to read."""

from collections.abc import Collection, Iterator
from textwrap import indent

from ops.databases import Snapshot, snapshot
from tools.faults.difference import Difference
from tools.faults.evidence import Evidence, reason_of
from tools.faults.plan import Operation
from tools.faults.record import Attempt
from tools.faults.state import Places
from tools.stack import logs

_ORDERS = "SELECT to_json(o)::text FROM orders o WHERE id = ANY ($1::bigint[]) ORDER BY id"
_HISTORY = "SELECT to_json(h)::text FROM order_history h WHERE order_id = ANY ($1::bigint[]) ORDER BY created_at"
_RESERVATIONS = "SELECT to_json(r)::text FROM reservations r WHERE order_id = ANY ($1::bigint[]) ORDER BY order_id"
_MOVEMENTS = """
SELECT to_json(m)::text
FROM stock_movements m
WHERE order_id = ANY ($1::bigint[]) OR reason = ANY ($2::text[])
ORDER BY id
"""
_OUTBOX = "SELECT to_json(o)::text FROM outbox o WHERE (payload->>'orderId')::bigint = ANY ($1::bigint[]) ORDER BY id"


async def story(difference: Difference, evidence: Evidence, places: Places) -> str:
    """What clients asked and were told, the rows as they are now, the log lines in time order. Raises OpsError."""
    order_ids = _order_ids(difference, evidence)
    attempts = list(_attempts(difference, evidence, order_ids))
    reasons = [reason_of(index) for index, _, _ in attempts]
    sections = {"clients": [_told(operation, attempt) for _, operation, attempt in attempts]}
    async with snapshot(places.databases["orders-db"], "orders-db") as database:
        sections["orders"] = await _rows(database, _ORDERS, order_ids)
        sections["order_history"] = await _rows(database, _HISTORY, order_ids)
        sections["outbox of orders"] = await _rows(database, _OUTBOX, order_ids)
    async with snapshot(places.databases["products-db"], "products-db") as database:
        sections["reservations"] = await _rows(database, _RESERVATIONS, order_ids)
        sections["stock_movements"] = await _rows(database, _MOVEMENTS, order_ids, reasons)
        sections["outbox of products"] = await _rows(database, _OUTBOX, order_ids)
    traces = _traces(difference, evidence, order_ids, [attempt for _, _, attempt in attempts])
    sections["logs"] = [str(line) for line in logs.search(places.logs, traces)]
    parts = (f"{name}\n{indent(chr(10).join(lines) or '(nothing)', '  ')}" for name, lines in sections.items())
    return "\n".join([str(difference), *(indent(part, "  ") for part in parts)])


def _order_ids(difference: Difference, evidence: Evidence) -> list[int]:
    """The order that is named, and what the named trace or its key has made."""
    found = set() if difference.order_id is None else {difference.order_id}
    request, _ = evidence.creations.get(difference.trace_id or "", (None, None))
    traces = request.trace_ids if request else {difference.trace_id}
    found.update(order.id for trace in traces if trace for order in evidence.orders_of_trace.get(trace, ()))
    return sorted(found)


def _attempts(
    difference: Difference, evidence: Evidence, order_ids: Collection[int]
) -> Iterator[tuple[int, Operation, Attempt]]:
    """Of every operation that had a part in it, which comes with its place in the plan."""
    orders = [evidence.orders[order_id] for order_id in order_ids if order_id in evidence.orders]
    wanted = {difference.trace_id, *(order.trace_id for order in orders)}
    wanted.update(attempt.trace_id for order_id in order_ids for attempt in evidence.cancellations.get(order_id, ()))
    wanted.update(
        evidence.acceptances[order_id][1].trace_id for order_id in order_ids if order_id in evidence.acceptances
    )
    for index, outcome in enumerate(evidence.record.outcomes):
        if any(attempt.trace_id in wanted for attempt in outcome.attempts):
            yield from ((index, outcome.operation, attempt) for attempt in outcome.attempts)


def _traces(
    difference: Difference, evidence: Evidence, order_ids: Collection[int], attempts: Collection[Attempt]
) -> set[str]:
    entries = [entry for order_id in order_ids for entry in evidence.state.history.get(order_id, ())]
    found = {difference.trace_id, *(attempt.trace_id for attempt in attempts), *(entry.trace_id for entry in entries)}
    return {trace_id for trace_id in found if trace_id}


async def _rows(database: Snapshot, statement: str, *arguments: object) -> list[str]:
    return [row[0] for row in await database.fetch(statement, *arguments)]


def _told(operation: Operation, attempt: Attempt) -> str:
    answer = attempt.error if attempt.status is None else f"{attempt.status} {attempt.data}"
    return f"{attempt.began:.3f} to {attempt.ended:.3f} s, trace {attempt.trace_id}: {operation}: {answer}"
