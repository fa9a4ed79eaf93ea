"""Compares the two databases, and each with itself: what ought to be equal and stays different is reported."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ops import checks
from ops.databases import Snapshot, snapshot
from ops.differences import Difference, Kind, Order, Reservation, compare, expected_movements, pairs
from ops.output import Answer, table
from ops.settings import DatabaseUrls

# What the first look finds is remembered for the second. More than that has a cause that shows without the rest.
MOST_KEPT = 10_000

Ids = Sequence[int] | None


@dataclass(slots=True)
class Findings:
    """What one look found: all is counted, and MOST_KEPT of each sort are kept."""

    products: int = 0
    orders: int = 0
    reservations: int = 0
    unfinished_orders: int = 0
    differences: list[Difference] = field(default_factory=list)
    unfinished: list[Difference] = field(default_factory=list)
    complete: bool = True

    def add(self, difference: Difference) -> None:
        kept = self.differences
        if difference.kind is Kind.UNFINISHED:
            self.unfinished_orders += 1
            kept = self.unfinished
        if len(kept) < MOST_KEPT:
            kept.append(difference)
        elif kept is self.differences:
            self.complete = False


async def run(urls: DatabaseUrls, options: argparse.Namespace) -> Answer:
    """Raises OpsError."""

    async def settle() -> None:
        await asyncio.sleep(options.settle)

    found = await reconcile(urls, options.older_than, settle)
    agrees = found.complete and not found.differences
    return Answer(_document(found, options.limit), _text(found, options.limit), ok=agrees)


async def reconcile(urls: DatabaseUrls, older_than: float, settle: Callable[[], Awaitable[None]]) -> Findings:
    """Looks once, and after `settle` again at what differed: what was in flight agrees by then.

    The two databases are seen at two moments, so an order that just moves on seems different once, not twice.
    """
    found = await _look(urls, older_than, None, None)
    if found.differences:
        await settle()
        product_ids = {d.product_id for d in found.differences if d.order_id is None and d.product_id is not None}
        order_ids = {d.order_id for d in found.differences if d.order_id is not None}
        again = await _look(urls, older_than, sorted(product_ids), sorted(order_ids))
        first = {difference.key for difference in found.differences}
        found.differences = [difference for difference in again.differences if difference.key in first]
    return found


async def _look(urls: DatabaseUrls, older_than: float, product_ids: Ids, order_ids: Ids) -> Findings:
    found = Findings()
    async with snapshot(urls.orders, "orders-db") as orders, snapshot(urls.products, "products-db") as products:
        found.products = (await products.fetch(checks.COUNT_PRODUCTS))[0][0]
        inside_products, inside_orders = await asyncio.gather(
            _inside_products(products, product_ids, order_ids), _inside_orders(orders, order_ids)
        )
        async for order, reservation in pairs(_orders(orders, order_ids), _reservations(products, order_ids)):
            found.orders += order is not None
            found.reservations += reservation is not None
            difference = compare(order, reservation, older_than)
            if difference is not None:
                found.add(difference)
        for difference in (*inside_products, *inside_orders):
            found.add(difference)
        found.differences = await _with_traces(orders, found.differences)
    return found


async def _inside_products(products: Snapshot, product_ids: Ids, order_ids: Ids) -> list[Difference]:
    differences: list[Difference] = []
    for product_id, qty, total in await products.fetch(checks.STOCK, product_ids, MOST_KEPT + 1):
        if qty is None or qty != (total or 0):
            found = "no product" if qty is None else f"qty {qty}"
            expected = f"{total or 0}, the sum of its movements"
            differences.append(Difference(Kind.STOCK, found, expected, product_id))
        if qty is not None and qty < 0:
            differences.append(Difference(Kind.BELOW_ZERO, f"qty {qty}", "0 or more", product_id))
    for order_id, product_id, quantity, outcome, moves in await products.fetch(
        checks.MOVEMENTS, order_ids, MOST_KEPT + 1
    ):
        found = f"{'no reservation' if outcome is None else f'reservation {outcome}'}: {', '.join(moves or ['none'])}"
        expected = expected_movements(outcome, quantity, product_id)
        differences.append(Difference(Kind.MOVEMENTS, found, expected, product_id, order_id))
    return differences


async def _inside_orders(orders: Snapshot, order_ids: Ids) -> list[Difference]:
    return [
        Difference(
            Kind.HISTORY,
            f"{f'order {status}' if status else 'no order'}: {', '.join(entries or ['no history'])}",
            f"pending first, {status} last" if status else "an order",
            product_id,
            order_id,
            trace_id,
        )
        for order_id, product_id, status, trace_id, entries in await orders.fetch(
            checks.HISTORY, order_ids, MOST_KEPT + 1
        )
    ]


async def _orders(orders: Snapshot, ids: Ids) -> AsyncIterator[Order]:
    async for row in orders.stream(checks.ORDERS, ids):
        yield Order._make(row)


async def _reservations(products: Snapshot, ids: Ids) -> AsyncIterator[Reservation]:
    async for row in products.stream(checks.RESERVATIONS, ids):
        yield Reservation._make(row)


async def _with_traces(orders: Snapshot, differences: Iterable[Difference]) -> list[Difference]:
    """What was found in products-db gets the trace that its order has."""
    ids = [d.order_id for d in differences if d.trace_id is None and d.order_id is not None]
    traces = dict(map(tuple, await orders.fetch(checks.TRACES, ids))) if ids else {}
    return [
        replace(difference, trace_id=traces.get(difference.order_id)) if difference.trace_id is None else difference
        for difference in differences
    ]


def _document(found: Findings, limit: int) -> dict[str, Any]:
    return {
        "differences": [difference.as_json() for difference in found.differences[:limit]],
        "unfinished": [difference.as_json() for difference in found.unfinished[:limit]],
        "summary": {
            "products": found.products,
            "orders": found.orders,
            "reservations": found.reservations,
            "differences": len(found.differences),
            "unfinished": found.unfinished_orders,
            "complete": found.complete,
        },
    }


def _text(found: Findings, limit: int) -> str:
    shown = [*found.differences[:limit], *found.unfinished[:limit]]
    lines = [f"products: {found.products}, orders: {found.orders}, reservations: {found.reservations}"]
    if shown:
        rows = ((d.kind, d.order_id, d.product_id, d.found, d.expected, d.trace_id) for d in shown)
        lines.insert(0, table(("KIND", "ORDER", "PRODUCT", "FOUND", "EXPECTED", "TRACE"), rows))
    lines.append(f"differences: {len(found.differences)}, unfinished orders: {found.unfinished_orders}")
    if not found.complete:
        lines.append(f"more differed at the first look, of which {MOST_KEPT} were looked at again")
    return "\n".join(lines)
