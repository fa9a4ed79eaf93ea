"""Makes the two databases agree again after one of them has lost its tail: acts on what `reconcile` finds twice.

Each step is a short transaction that locks what it is about and looks again before it writes: services may run.
"""

import argparse
import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from ops import checks
from ops.databases import DatabaseUrls, Session, both, session
from ops.differences import Difference, Kind, Order, Reservation
from ops.errors import OpsError
from ops.output import SHOWN, Answer, as_json, tables
from ops.reconcile import Findings, reconcile
from ops.steps import Action, Product, Step, next_step
from shared import tracing

# A number that is farther ahead than this was not given out by the sequence.
_REACH = 10**8
_HEADINGS = ("STEP", "ORDER", "PRODUCT", "STOCK", "WHY", "TRACE")


async def run(environ: Mapping[str, str], options: argparse.Namespace) -> Answer:
    """Raises SettingsError or OpsError."""
    urls = DatabaseUrls.load(environ)
    async with both(urls, session) as (orders, products):
        repair = Repair(orders, products, apply=options.apply)
        stopped = None
        try:
            await repair.pass_over_numbers()
            found = await reconcile(urls, options.older_than, partial(asyncio.sleep, options.settle))
            await repair.mend(found, options.older_than)
            if not found.complete or found.unfinished_orders > len(found.unfinished):
                stopped = "more differ than one run looks at"
        except OpsError as error:  # what was written until then is said too
            stopped = str(error)
    return _answer(repair.actions, options, stopped)


# Each takes the number that is out of reach.
_IN_ORDERS = "SELECT max(id) FROM (SELECT id FROM orders UNION ALL SELECT id FROM archived_orders) o WHERE id < $1"
_IN_STOCK = """
SELECT max(order_id) FROM (SELECT order_id FROM reservations UNION ALL SELECT order_id FROM stock_movements) r
WHERE order_id < $1
"""
_PRODUCTS_IN_ORDERS = """
SELECT max(product_id)
FROM (SELECT product_id FROM orders UNION ALL SELECT product_id FROM order_products) o WHERE product_id < $1
"""
_PRODUCTS_IN_STOCK = """
SELECT max(id) FROM (SELECT id FROM products UNION ALL SELECT product_id FROM reservations) p WHERE id < $1
"""
# The column of a product that is a sum, of what, and that sum.
_SUMS: Mapping[Kind, tuple[str, str, str]] = {
    Kind.STOCK: ("qty", "the movements", "sum(delta) FROM stock_movements WHERE product_id = $1"),
    Kind.HELD: ("held", "the held reservations", "sum(quantity) FROM reservations WHERE product_id = $1 AND held"),
}
_SET_SUM = """
WITH noted AS (
    INSERT INTO stock_movements (product_id, kind, delta, reason) VALUES ($1, 'adjustment', 0, $3)
)
UPDATE products SET {} = $2, updated_at = now() WHERE id = $1
"""
# Those of the order and of its reservation.
_PRODUCTS = """
SELECT id, qty, uid FROM products
WHERE id = ANY ($1::bigint[] || ARRAY(SELECT product_id FROM reservations WHERE order_id = $2))
ORDER BY id
"""
_RESERVATION = "SELECT FROM reservations WHERE order_id = $1"
_ANNOUNCED = "SELECT (payload ->> 'orderId')::bigint AS order_id FROM outbox WHERE type = 'order.created'"
# As the order service does it.
_ANNOUNCE = """
INSERT INTO outbox (type, payload, traceparent)
SELECT 'order.created', CASE WHEN lines IS NULL AND expires_at IS NULL
    THEN json_build_object(
        'orderId', id, 'orderUid', uid, 'productId', product_id, 'productUid', product_uid, 'quantity', quantity
    )
    ELSE json_strip_nulls(json_build_object(
        'orderId', id, 'orderUid', uid, 'productId', product_id, 'productUid', product_uid, 'quantity', quantity,
        'lines', lines, 'held', expires_at IS NOT NULL
    ))
END, $2
FROM orders WHERE id = $1
"""
_STATUSES: Mapping[Step, str] = {Step.CANCEL: "cancelled", Step.CONFIRM: "done"}
_SET_STATUS = """
WITH listed AS (
    UPDATE order_products SET status = $2 WHERE order_id = $1
)
UPDATE orders SET status = $2, reason = NULL, updated_at = now() WHERE id = $1 AND status <> $2
"""
# What was confirmed has not expired, although a database that did not know it has let it.
_FORGET_END = "DELETE FROM order_entries WHERE order_id = $1 AND status = 'expired'"
_MOVE = """
WITH moved AS (
    UPDATE reservations SET order_id = $2 WHERE order_id = $1 RETURNING product_id
)
UPDATE stock_movements AS m SET order_id = $2, reason = coalesce(reason, $3)
FROM moved
WHERE m.product_id = moved.product_id AND m.order_id = $1
"""
# $5 to $7 hold one element for each line, the last of them the change of its stock. $8 is 1 if the line is held now
# and was not before, -1 for the reverse.
_DECIDE = """
WITH of_line AS (
    SELECT * FROM unnest($5::bigint[], $6::integer[], $7::integer[]) WITH ORDINALITY
        AS l (product_id, quantity, delta, number)
), decided AS (
    INSERT INTO reservations (order_id, line, product_id, quantity, order_uid, outcome, held)
    SELECT $1, number - 1, product_id, quantity, $2, $3, $4 FROM of_line
    ON CONFLICT (order_id, line) DO UPDATE SET outcome = $3, held = $4, reason = NULL, available = NULL
), moved AS (
    INSERT INTO stock_movements (product_id, order_id, kind, delta, reason)
    SELECT product_id, $1, CASE WHEN delta < 0 THEN 'reserve' ELSE 'release' END, delta, $9
    FROM of_line WHERE delta <> 0
)
UPDATE products SET qty = qty + delta, held = held + quantity * $8::integer, updated_at = now()
FROM of_line WHERE id = product_id AND (delta <> 0 OR $8 <> 0)
"""


class Repair:
    """`actions` are what it has done. Without `apply` they are what it would do, and it writes nothing."""

    def __init__(self, orders: Session, products: Session, *, apply: bool) -> None:
        self._orders = orders
        self._products = products
        self._apply = apply
        self._lock = " FOR NO KEY UPDATE" if apply else ""
        self._planned = Counter[int]()  # by what the stock of a product would have changed
        self.actions: list[Action] = []

    async def pass_over_numbers(self) -> None:
        """Leaves no number to be given out that either database knows."""
        await self._pass_over(self._orders, "orders_id_seq", _IN_ORDERS, _IN_STOCK)
        await self._pass_over(self._products, "products_id_seq", _PRODUCTS_IN_ORDERS, _PRODUCTS_IN_STOCK)

    async def mend(self, found: Findings, older_than: float) -> None:
        announced = {row["order_id"] for row in await self._orders.fetch(_ANNOUNCED)}
        order_ids = {difference.order_id for difference in found.unfinished} - announced
        for difference in found.differences:
            match difference.kind:
                case Kind.STOCK | Kind.HELD:
                    await self._add_up(difference)
                case Kind.BELOW_ZERO | Kind.MOVEMENTS | Kind.HISTORY:
                    self._leave(difference)
                case _:
                    order_ids.add(difference.order_id)
        # Those that need stock come last: some may come back before.
        needy = [id_ for id_ in sorted(filter(None, order_ids)) if not await self._settle(id_, older_than)]
        for order_id in needy:
            await self._settle(order_id, older_than, may_take=True)

    async def _pass_over(self, database: Session, sequence: str, in_orders: str, in_stock: str) -> None:
        given_out = f"SELECT coalesce(pg_sequence_last_value('{sequence}'), 0)"
        [(given,)] = await database.fetch(given_out)
        [(ordered,)] = await self._orders.fetch(in_orders, given + _REACH)
        [(stocked,)] = await self._products.fetch(in_stock, given + _REACH)
        last = max(ordered or 0, stocked or 0)
        [(given,)] = await database.fetch(given_out)  # those that were given out meanwhile are in use too
        if last <= given:
            return
        if self._apply:
            # Drawn and not set: it never goes back, whoever else draws meanwhile.
            await database.fetch(f"SELECT count(nextval('{sequence}')) FROM generate_series({given + 1}, {last})")
        self._note(Action(Step.NUMBERS, f"{sequence} was at {given}, numbers up to {last} are in use"))

    async def _add_up(self, found: Difference) -> None:
        column, summands, of_sum = _SUMS[found.kind]
        async with self._products.transaction():
            product = f"SELECT {column} FROM products WHERE id = $1{self._lock}"
            rows = await self._products.fetch(product, found.product_id)
            [(total,)] = await self._products.fetch(f"SELECT coalesce((SELECT {of_sum}), 0)", found.product_id)
            if not rows or total < 0:
                self._leave(found)
            elif total != (was := rows[0][column]):
                why = f"{column} was {was}, the sum of {summands} is {total}"
                if self._apply:
                    await self._products.fetch(_SET_SUM.format(column), found.product_id, total, f"repair: {why}")
                delta = total - was if found.kind is Kind.STOCK else 0
                self._note(Action(Step(found.kind), why, None, found.product_id, delta))

    def _leave(self, found: Difference) -> None:
        why = f"{found.kind}: {found.found}; expected {found.expected}"
        self._note(Action(Step.LEFT, why, found.order_id, found.product_id, trace_id=found.trace_id))

    def _note(self, action: Action) -> None:
        self.actions.append(action)
        if not self._apply and action.product_id is not None:
            self._planned[action.product_id] += action.delta

    async def _settle(self, order_id: int, older_than: float, *, may_take: bool = False) -> bool:
        """Makes an order and its reservation agree; False, with nothing done, if that takes stock and it may not."""
        async with self._orders.transaction(), self._products.transaction():
            order, reservation, products = await self._look(order_id)
            actions = next_step(order, reservation, products, older_than)
            if not actions:
                return True
            step = actions[0].step
            if step in (Step.RESERVE, Step.OVERSOLD) and not may_take:
                return False
            if self._apply and step not in (Step.OVERSOLD, Step.LEFT):
                actions = await self._write(actions, order, reservation)
        for action in actions:
            self._note(action)
        if self._apply and step is Step.MOVE:
            # The claim of the order that has the number now was refused, however young it is.
            return await self._settle(order_id, -1.0, may_take=may_take)
        return True

    async def _look(self, order_id: int) -> tuple[Order | None, Reservation | None, dict[int, Product]]:
        """Under their locks, which are taken in the sequence in which the services take them."""
        order = await self._order(order_id)
        ordered = [line.product_id for line in order.lines] if order else []
        rows = await self._products.fetch(_PRODUCTS + self._lock, ordered, order_id)
        products = {id_: Product(id_, qty + self._planned[id_], uid) for id_, qty, uid in rows}
        await self._products.fetch(_RESERVATION + self._lock, order_id)
        found = await self._products.fetch(checks.RESERVATIONS, [order_id])
        # The order of a reservation was there before it: one that is missing still is lost.
        order = order or await self._order(order_id)
        return order, checks.with_lines(Reservation, found[0]) if found else None, products

    async def _order(self, order_id: int) -> Order | None:
        rows = await self._orders.fetch(checks.ORDERS + self._lock, [order_id])
        rows = rows or await self._orders.fetch(checks.ORDERS_AND_ARCHIVED, [order_id])
        return checks.with_lines(Order, rows[0]) if rows else None

    async def _write(
        self, actions: list[Action], order: Order | None, reservation: Reservation | None
    ) -> list[Action]:
        """Returns what it has done."""
        step, why, number = actions[0].step, actions[0].why, actions[0].order_id
        if step is Step.ANNOUNCE and order is not None:
            await self._orders.fetch(_ANNOUNCE, number, tracing.resume(order.trace_id))
            return actions
        if step in _STATUSES:
            await self._orders.fetch(_SET_STATUS, number, _STATUSES[step])
            await self._orders.fetch(_FORGET_END, number)
        if step is Step.MOVE:
            [(number,)] = await self._orders.fetch("SELECT nextval('orders_id_seq')")
            was = actions[0].order_id
            await self._products.fetch(_MOVE, was, number, f"repair: {why}, its number was {was}")
            actions = [replace(action, why=f"{why}, its number is {number} now") for action in actions]
        if claim := reservation if step is Step.MOVE else order or reservation:
            is_held = step is Step.RESERVE and claim is order and claim.status == "held"
            was_held = reservation is not None and reservation.outcome == "held"
            outcome = "reserved" if step in (Step.RESERVE, Step.CONFIRM) else "released"
            deltas = {action.product_id: action.delta for action in actions}
            lines = [(product_id, quantity, deltas.get(product_id, 0)) for product_id, quantity, *_ in claim.lines]
            holds = is_held - was_held
            await self._products.fetch(
                _DECIDE, number, claim.uid, outcome, is_held, *zip(*lines, strict=True), holds, f"repair: {why}"
            )
        return actions


def _answer(actions: Sequence[Action], options: argparse.Namespace, stopped: str | None) -> Answer:
    counted = Counter(action.step for action in actions)
    listed = {str(step): counted.pop(step, 0) for step in (Step.OVERSOLD, Step.LEFT)}
    summary = {"steps": counted.total(), **listed}
    shown = actions if options.apply else actions[: options.limit]  # whatever was written is said
    rows = [
        (a.step, a.order_id, a.product_id, f"{a.delta:+}" if a.delta else None, a.why, a.trace_id) for a in actions
    ]
    to_do = bool(counted) and not options.apply
    lines = [
        *([tables(_HEADINGS, rows, None if options.apply else options.limit or SHOWN), ""] if rows else []),
        ", ".join(f"{name}: {count}" for name, count in summary.items()),
        *([f"stopped: {stopped}; run it again"] if stopped else []),
        *(["nothing was written: --apply does these steps"] if to_do else []),
    ]
    document = {"applied": options.apply, "actions": list(map(as_json, shown)), "summary": summary, "stopped": stopped}
    return Answer(document, "\n".join(lines), ok=not (to_do or stopped or any(listed.values())))
