"""A round in which every promise was kept, made without a system: what clients saw, and what it left behind."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tools.faults.evidence import pieces
from tools.faults.plan import QUEUES, Action, Fault, Operation, Plan, Product
from tools.faults.record import Attempt, Outcome, Record
from tools.faults.state import Cached, Json, State

FIRST_ID = 11
_CODES = {409: "conflict", 502: "upstream_error", 503: "unavailable", 504: "upstream_timeout"}


class World:
    """One thing happens after the other; product `index` of the plan has the id FIRST_ID + index."""

    def __init__(self, *products: Product) -> None:
        self.plan_products = products
        self.faults: list[Fault] = []
        self.outcomes: list[Outcome] = []
        self.products: dict[int, Json] = {}
        self.movements: dict[int, list[Json]] = {}
        self.orders: dict[int, Json] = {}
        self.reservations: dict[int, list[Json]] = {}
        self._now = 0.0
        for product_id, product in enumerate(products, FIRST_ID):
            stored = {"id": product_id, "price": product.price, "qty": 0, "held": 0, "version": 1}
            self.products[product_id] = stored
            self._move(product_id, "initial", product.qty)

    def order(self, product: int, quantity: int, *, statuses: Sequence[int | None] = (201,), **options: Any) -> None:
        """The last attempt is what makes the order; those before it do nothing."""
        outcome = self._begin("order", product, amount=quantity, **options)
        for earlier in statuses[:-1]:
            self._attempt(outcome, earlier)
        operation, order_id = outcome.operation, 100 + len(self.orders)
        lines = [(self.products[FIRST_ID + each], pieces) for each, pieces in operation.lines]
        shortages = [
            {"productId": stored["id"], "requested": pieces, "available": stored["qty"]}
            for stored, pieces in lines
            if stored["qty"] < pieces
        ]
        status = "rejected" if shortages else "held" if operation.hold else "done"
        self.orders[order_id] = {
            "id": order_id,
            "lines": [
                {
                    "productId": stored["id"],
                    "quantity": pieces,
                    "unitPrice": stored["price"],
                    "totalPrice": str(Decimal(stored["price"]) * pieces),
                }
                for stored, pieces in lines
            ],
            "totalPrice": str(sum(Decimal(stored["price"]) * pieces for stored, pieces in lines)),
            "status": status,
            "reason": "insufficient_stock" if shortages else None,
            "shortages": shortages,
            "expiresAt": time_at(self._now + operation.hold) if operation.hold else None,
            "traceId": self._trace_id(outcome),
            "createdAt": time_at(self._now),
            "updatedAt": time_at(self._now + 0.5),
            "reference": operation.reference,
        }
        self.reservations[order_id] = [
            {"product_id": stored["id"], "quantity": pieces, "outcome": "rejected", "held": False}
            for stored, pieces in lines
        ]
        if not shortages:
            self._reserve(order_id, "reserve", "reserved", held=status == "held")
        self._attempt(outcome, statuses[-1], _as_placed(self.orders[order_id]))

    def meet_reference(self, operation: int) -> None:
        """An order without a key is sent again, and is told that another has its reference."""
        self._attempt(self.outcomes[operation], 409, code="duplicate_reference")

    def confirm(self, operation: int) -> None:
        """Confirms the order of an operation; one that has expired is answered 409."""
        order, outcome = self._begin_on("confirm", operation)
        if order["status"] == "expired":
            self._attempt(outcome, 409, code="expired")
            return
        order["status"] = "done"
        self._reserve(order["id"], None, "reserved", held=False)
        self._attempt(outcome, 200, dict(order))

    def extend(self, operation: int, seconds: int) -> None:
        order, outcome = self._begin_on("extend", operation, hold=seconds)
        order["expiresAt"] = time_at(self._now + seconds)
        self._attempt(outcome, 200, dict(order))

    def expire(self, operation: int) -> None:
        """The hold of an order is left to its end."""
        order = self._order_of(operation)
        order.update(status="expired", updatedAt=time_at(datetime.fromisoformat(order["expiresAt"]).timestamp() + 0.5))
        self._reserve(order["id"], "release", "released", held=False)

    def repeat(self, operation: int) -> None:
        """The first answer to a keyed order comes again."""
        outcome = self.outcomes[operation]
        self._attempt(outcome, 201, _as_placed(self._order_of(operation)))

    def cancel(self, operation: int) -> None:
        """Cancels the order of an operation; a rejected one is answered 409."""
        order, outcome = self._begin_on("cancel", operation)
        if order["status"] == "rejected":
            self._attempt(outcome, 409)
            return
        order["status"] = "cancelled"
        self._reserve(order["id"], "release", "released", held=False)
        self._attempt(outcome, 200, dict(order))

    def adjust(self, product: int, delta: int, key: str, status: int = 200) -> None:
        """An adjustment that would leave less than nothing is refused."""
        outcome = self._begin("adjust", product, amount=delta, key=key)
        stored = self.products[FIRST_ID + product]
        if stored["qty"] + delta < 0:
            self._attempt(outcome, 409)
        else:
            self._move(stored["id"], "adjustment", delta, reason=key)
            self._attempt(outcome, status, dict(stored))

    def reprice(self, product: int, price: str, status: int = 200) -> None:
        outcome = self._begin("reprice", product, price=price)
        stored = self.products[FIRST_ID + product]
        stored.update(price=price, version=stored["version"] + 1)
        self._attempt(outcome, status, dict(stored))

    def read(self, product: int) -> None:
        self._attempt(self._begin("read", product), 200, dict(self.products[FIRST_ID + product]))

    def list_orders(self, product: int) -> None:
        self._attempt(self._begin("list", product), 200, self._page(FIRST_ID + product))

    def refuse(self, action: Action, product: int, status: int, code: str = "", **options: Any) -> None:
        """An operation that came to nothing."""
        self._attempt(self._begin(action, product, amount=1, price="1.00", **options), status, code=code)

    @property
    def record(self) -> Record:
        operations = tuple(outcome.operation for outcome in self.outcomes)
        plan = Plan(1, self._now, self.plan_products, operations, tuple(self.faults))
        lasted = {fault: (fault.at, fault.at + fault.seconds) for fault in self.faults}
        return Record(plan, [FIRST_ID + index for index in range(len(self.plan_products))], self.outcomes, lasted)

    @property
    def state(self) -> State:
        pages = {product_id: self._page(product_id) for product_id in self.products}
        cached = [
            Cached("orders-redis", f"product:{product_id}", {"id": product_id, "price": product["price"]}, 59.0)
            for product_id, product in self.products.items()
        ]
        return State(
            products=self.products,
            movements=self.movements,
            orders=self.orders,
            reservations=self.reservations,
            product_views=dict.fromkeys(("products-1", "products-2"), self.products),
            order_views=dict.fromkeys(("orders-1", "orders-2"), pages),
            cached=cached,
            rows=[],
            outboxes={"orders": 0, "products": 0},
            queues=dict.fromkeys(QUEUES, 0),
            dead_letters=[],
            bypasses={"orders": [], "products": []},
        )

    def _page(self, product_id: int) -> list[Json]:
        return [dict(order) for order in reversed(self.orders.values()) if product_id in pieces(order)]

    def _order_of(self, operation: int) -> Json:
        traces = {attempt.trace_id for attempt in self.outcomes[operation].attempts}
        [order] = [order for order in self.orders.values() if order["traceId"] in traces]
        return order

    def _begin_on(self, action: Action, operation: int, **options: Any) -> tuple[Json, Outcome]:
        product = self.outcomes[operation].operation.product
        return self._order_of(operation), self._begin(action, product, of=operation, **options)

    def _begin(self, action: Action, product: int, **options: Any) -> Outcome:
        self._now += 1.0
        outcome = Outcome(Operation(self._now, action, product, **options))
        self.outcomes.append(outcome)
        return outcome

    def _trace_id(self, outcome: Outcome) -> str:
        """The trace id of its next attempt."""
        return f"{self.outcomes.index(outcome):016x}{len(outcome.attempts):016x}"

    def _attempt(self, outcome: Outcome, status: int | None, data: Any = None, code: str = "") -> None:
        trace_id, began = self._trace_id(outcome), self._now
        self._now += 0.5
        failed = status is not None and status >= 400
        body = {"statusCode": status, "data": None if failed else data, "traceId": trace_id}
        if failed:
            body["error"] = {"code": code or _CODES[status or 0], "message": "…"}
        shown = None if status is None else body
        outcome.attempts.append(Attempt(trace_id, began, self._now, status, shown, is_deferred=status == 503))

    def _reserve(self, order_id: int, kind: str | None, outcome: str, *, held: bool) -> None:
        """Moves the stock of every line, if there is a `kind` of movement, and changes the reservation."""
        for row in self.reservations[order_id]:
            self.products[row["product_id"]]["held"] += row["quantity"] * (held - row["held"])
            row.update(outcome=outcome, held=held)
            if kind:
                self._move(row["product_id"], kind, row["quantity"] * (-1 if kind == "reserve" else 1), order_id)

    def _move(
        self, product_id: int, kind: str, delta: int, order_id: int | None = None, reason: str | None = None
    ) -> None:
        moved = self.movements.setdefault(product_id, [])
        self.products[product_id]["qty"] += delta
        moved.append({"id": len(moved), "kind": kind, "delta": delta, "orderId": order_id, "reason": reason})


def time_at(seconds: float) -> str:
    """As the API shows it, of a round that began with the epoch."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _as_placed(order: Json) -> Json:
    return {**order, "status": "pending", "reason": None, "shortages": [], "updatedAt": order["createdAt"]}
