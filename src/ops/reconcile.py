"""Compares the two databases, and each with itself; reports what should be equal and stays different."""

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ops import checks
from ops.checks import Ids
from ops.databases import DatabaseUrls, Session, both, snapshot
from ops.differences import ARCHIVED, Difference, Kind, Order, Reservation, compare, pairs
from ops.output import SHOWN, Answer, Progress, as_json, tables


@dataclass(slots=True)
class Findings:
    """The result of one look: every difference is counted, and `checks.MOST_KEPT` of each sort are kept."""

    products: int = 0
    orders: int = 0
    reservations: int = 0
    unfinished_orders: int = 0
    differences: list[Difference] = field(default_factory=list)
    unfinished: list[Difference] = field(default_factory=list)
    complete: bool = True

    def add(self, difference: Difference) -> None:
        kept = self.differences
        if difference.kind in (Kind.UNFINISHED, Kind.NEWER):
            self.unfinished_orders += 1
            kept = self.unfinished
        if len(kept) < checks.MOST_KEPT:
            kept.append(difference)
        elif kept is self.differences:
            self.complete = False


async def run(environ: Mapping[str, str], options: argparse.Namespace) -> Answer:
    """Raises SettingsError or OpsError."""
    urls = DatabaseUrls.load(environ)
    found = await reconcile(urls, options.older_than, partial(asyncio.sleep, options.settle))
    agrees = found.complete and not found.differences
    return Answer(_document(found, options.limit), _text(found, options.limit), ok=agrees)


async def reconcile(urls: DatabaseUrls, older_than: float, settle: Callable[[], Awaitable[None]]) -> Findings:
    """Looks at everything, and after `settle` again at what differed: work that was in flight agrees by then.

    The two databases are read at different moments, so an order that is being decided may differ once, not twice.
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
    async with both(urls, snapshot) as (orders, products):
        [(found.products,)] = await products.fetch("SELECT count(*) FROM products")
        [(total,)] = await orders.fetch("SELECT count(*) FROM orders")
        inside_products, inside_orders = await asyncio.gather(
            _inside_products(products, product_ids, order_ids), checks.history(orders, order_ids)
        )
        with Progress("reconcile", total) as progress:
            async for order, reservation in pairs(
                (checks.with_lines(Order, row) async for row in orders.stream(checks.ORDERS_AND_ARCHIVED, order_ids)),
                (checks.with_lines(Reservation, row) async for row in products.stream(checks.RESERVATIONS, order_ids)),
            ):
                progress.advance()
                found.orders += order is not None and order.status != ARCHIVED
                found.reservations += reservation is not None and reservation.outcome != ARCHIVED
                difference = compare(order, reservation, older_than)
                if difference is not None:
                    found.add(difference)
        for difference in (*inside_products, *inside_orders):
            found.add(difference)
        found.differences = await checks.with_traces(orders, found.differences)
    return found


async def _inside_products(products: Session, product_ids: Ids, order_ids: Ids) -> list[Difference]:
    return [*await checks.stock(products, product_ids), *await checks.movements(products, order_ids)]


def _document(found: Findings, limit: int | None) -> dict[str, Any]:
    return {
        "differences": list(map(as_json, found.differences[:limit])),
        "unfinished": list(map(as_json, found.unfinished[:limit])),
        "summary": {
            "products": found.products,
            "orders": found.orders,
            "reservations": found.reservations,
            "differences": len(found.differences),
            "unfinished": found.unfinished_orders,
            "complete": found.complete,
        },
    }


def _text(found: Findings, limit: int | None) -> str:
    rows = (
        (d.kind, d.order_id, d.product_id, d.found, d.expected, d.trace_id)
        for d in (*found.differences, *found.unfinished)
    )
    text = tables(("KIND", "ORDER", "PRODUCT", "FOUND", "EXPECTED", "TRACE"), rows, limit or SHOWN)
    lines = [
        *([text, ""] if text else []),
        f"products: {found.products}, orders: {found.orders}, reservations: {found.reservations}",
        f"differences: {len(found.differences)}, unfinished orders: {found.unfinished_orders}",
    ]
    if not found.complete:
        lines.append(f"more differed at the first look, of which {checks.MOST_KEPT} were looked at again")
    return "\n".join(lines)
