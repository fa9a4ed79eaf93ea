"""Makes the two databases agree again after one of them has lost its tail: acts on what `reconcile` finds twice.

Each step is a short transaction that locks what it is about and looks again before it writes: services may run.
"""

import argparse
import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from ops.checks import ORDERS, RESERVATIONS
from ops.databases import Session, session
from ops.differences import Difference, Kind, Order, Reservation
from ops.errors import OpsError
from ops.output import Answer, as_json, table
from ops.reconcile import Findings, reconcile
from ops.settings import DatabaseUrls
from ops.steps import Action, Product, Step, next_action
from shared import tracing
from shared.contracts.events import DATA, EventType

# A number that is farther ahead than this was not given out by the sequence.
_REACH = 10**8
_HEADINGS = ("STEP", "ORDER", "PRODUCT", "STOCK", "WHY", "TRACE")


async def run(environ: Mapping[str, str], options: argparse.Namespace) -> Answer:
    """Raises SettingsError or OpsError."""
    urls = DatabaseUrls.load(environ)
    async with (
        session(urls.orders_database_url, "orders-db") as orders,
        session(urls.products_database_url, "products-db") as products,
    ):
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
_IN_ORDERS = "SELECT max(id) FROM orders WHERE id < $1"
_IN_STOCK = """
SELECT max(order_id) FROM (SELECT order_id FROM reservations UNION ALL SELECT order_id FROM stock_movements) r
WHERE order_id < $1
"""
_PRODUCTS_IN_ORDERS = "SELECT max(product_id) FROM orders WHERE product_id < $1"
_PRODUCTS_IN_STOCK = """
SELECT max(id) FROM (SELECT id FROM products UNION ALL SELECT product_id FROM reservations) p WHERE id < $1
"""
_TOTAL = "SELECT coalesce(sum(delta), 0) FROM stock_movements WHERE product_id = $1"
_SET_STOCK = """
WITH noted AS (
    INSERT INTO stock_movements (product_id, kind, delta, reason) VALUES ($1, 'adjustment', 0, $3)
)
UPDATE products SET qty = $2, updated_at = now() WHERE id = $1
"""
# Those of the order and of its reservation.
_PRODUCTS = """
SELECT id, qty, uid FROM products
WHERE id = $1 OR id = (SELECT product_id FROM reservations WHERE order_id = $2)
ORDER BY id
"""
_ANNOUNCED = "SELECT (payload ->> 'orderId')::bigint AS order_id FROM outbox WHERE type = 'order.created'"
_ANNOUNCE = "INSERT INTO outbox (type, payload, traceparent) VALUES ('order.created', $1, $2)"
_CANCEL = """
WITH changed AS (
    UPDATE orders SET status = 'cancelled', reason = NULL, updated_at = now() WHERE id = $1 RETURNING id, trace_id
)
INSERT INTO order_history (order_id, status, trace_id) SELECT id, 'cancelled', trace_id FROM changed
"""
_MOVE = """
WITH moved AS (
    UPDATE reservations SET order_id = $2 WHERE order_id = $1 RETURNING product_id
)
UPDATE stock_movements AS m SET order_id = $2, reason = coalesce(reason, $3)
FROM moved
WHERE m.product_id = moved.product_id AND m.order_id = $1
"""
# $6 is the change of the stock.
_DECIDE = """
WITH decided AS (
    INSERT INTO reservations (order_id, product_id, quantity, order_uid, outcome) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (order_id) DO UPDATE SET outcome = $5, reason = NULL
), moved AS (
    INSERT INTO stock_movements (product_id, order_id, kind, delta, reason)
    SELECT $2, $1, CASE WHEN $6 < 0 THEN 'reserve' ELSE 'release' END, $6, $7 WHERE $6 <> 0
)
UPDATE products SET qty = qty + $6, updated_at = now() WHERE id = $2 AND $6 <> 0
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
                case Kind.STOCK:
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
        async with self._products.transaction():
            rows = await self._products.fetch(f"SELECT qty FROM products WHERE id = $1{self._lock}", found.product_id)
            [(total,)] = await self._products.fetch(_TOTAL, found.product_id)
            if not rows or total < 0:
                self._leave(found)
            elif total != rows[0]["qty"]:
                why = f"the stock was {rows[0]['qty']}, the sum of the movements is {total}"
                if self._apply:
                    await self._products.fetch(_SET_STOCK, found.product_id, total, f"repair: {why}")
                self._note(Action(Step.STOCK, why, None, found.product_id, total - rows[0]["qty"]))

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
            order, reservation, product = await self._look(order_id)
            action = next_action(order, reservation, product, older_than)
            if action is None:
                return True
            if action.step in (Step.RESERVE, Step.OVERSOLD) and not may_take:
                return False
            if self._apply and action.step is not Step.OVERSOLD:
                action = await self._write(action, order, reservation)
        self._note(action)
        if self._apply and action.step is Step.MOVE:
            # The claim of the order that has the number now was refused, however young it is.
            return await self._settle(order_id, -1.0, may_take=may_take)
        return True

    async def _look(self, order_id: int) -> tuple[Order | None, Reservation | None, Product | None]:
        """Under their locks, which are taken in the sequence in which the services take them."""
        order = await self._order(order_id)
        rows = await self._products.fetch(_PRODUCTS + self._lock, order and order.product_id, order_id)
        products = {id_: Product(id_, qty + self._planned[id_], uid) for id_, qty, uid in rows}
        reservations = await self._products.fetch(RESERVATIONS + self._lock, [order_id])
        # The order of a reservation was there before it: one that is missing still is lost.
        order = order or await self._order(order_id)
        reservation = Reservation(**reservations[0]) if reservations else None
        return order, reservation, products.get(order.product_id) if order else None

    async def _order(self, order_id: int) -> Order | None:
        rows = await self._orders.fetch(ORDERS + self._lock, [order_id])
        return Order(**rows[0]) if rows else None

    async def _write(self, action: Action, order: Order | None, reservation: Reservation | None) -> Action:
        """Returns what it has done."""
        reason, number = f"repair: {action.why}", action.order_id
        if action.step is Step.CANCEL:
            await self._orders.fetch(_CANCEL, number)
        elif action.step is Step.ANNOUNCE and order is not None:
            data = {**order._asdict(), "order_id": order.id, "order_uid": order.uid}
            payload = DATA[EventType.ORDER_CREATED].dumps(data)
            await self._orders.fetch(_ANNOUNCE, payload, tracing.resume(order.trace_id))
        elif of := reservation if action.step is Step.MOVE else order or reservation:
            if action.step is Step.MOVE:
                [(number,)] = await self._orders.fetch("SELECT nextval('orders_id_seq')")
                await self._products.fetch(
                    _MOVE, action.order_id, number, f"{reason}, its number was {action.order_id}"
                )
                action = replace(action, why=f"{action.why}, its number is {number} now")
            outcome = "reserved" if action.step is Step.RESERVE else "released"
            claim = (number, of.product_id, of.quantity, of.uid)
            await self._products.fetch(_DECIDE, *claim, outcome, action.delta, reason)
        return action


def _answer(actions: Sequence[Action], options: argparse.Namespace, stopped: str | None) -> Answer:
    counted = Counter(action.step for action in actions)
    listed = {str(step): counted.pop(step, 0) for step in (Step.OVERSOLD, Step.LEFT)}
    summary = {"steps": counted.total(), **listed}
    shown = actions if options.apply else actions[: options.limit]  # whatever was written is said
    rows = [(a.step, a.order_id, a.product_id, f"{a.delta:+}" if a.delta else None, a.why, a.trace_id) for a in shown]
    to_do = bool(counted) and not options.apply
    lines = [
        *([table(_HEADINGS, rows)] if rows else []),
        ", ".join(f"{name}: {count}" for name, count in summary.items()),
        *([f"stopped: {stopped}; run it again"] if stopped else []),
        *(["nothing was written: --apply does these steps"] if to_do else []),
    ]
    document = {"applied": options.apply, "actions": list(map(as_json, shown)), "summary": summary, "stopped": stopped}
    return Answer(document, "\n".join(lines), ok=not (to_do or stopped or any(listed.values())))
