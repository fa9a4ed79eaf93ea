"""A round in which every promise was kept, made without a system: what clients saw, and what it left behind."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from shared.messaging.topology import QUEUES
from tools.faults.plan import Action, Fault, Operation, Plan, Product
from tools.faults.record import Attempt, Outcome, Record
from tools.faults.state import Entry, Movement, Order, Reservation, State
from tools.faults.state import Product as Stored
from tools.faults.views import Answer, Cached

FIRST_ID = 11
_STEP = 1.0


class World:
    """One thing happens after the other, and at once; product `index` of the plan has the id FIRST_ID + index."""

    def __init__(self, *products: Product) -> None:
        self.faults: list[Fault] = []
        self.plan_products = products
        self.outcomes: list[Outcome] = []
        self.products = [
            Stored(FIRST_ID + index, f"Product {index}", Decimal(product.price), product.qty, 1)
            for index, product in enumerate(products)
        ]
        self.movements: list[Movement] = []
        for index, product in enumerate(products):
            self._move(index, "initial", product.qty)
        self.orders: list[Order] = []
        self.reservations: list[Reservation] = []
        self.history: dict[int, list[Entry]] = {}
        self._now = 0.0

    def order(
        self, product: int, quantity: int, *, key: str | None = None, statuses: Sequence[int | None] = (201,)
    ) -> int:
        """The operation's index. Its last attempt is what makes the order; those before it do nothing."""
        outcome = self._begin("order", product, amount=quantity, key=key)
        for status in statuses[:-1]:
            self._attempt(outcome, status)
        stored = self.products[product]
        fits = stored.qty >= quantity
        trace_id = self._trace_id(outcome)
        order = Order(
            id=100 + len(self.orders),
            product_id=stored.id,
            quantity=quantity,
            unit_price=stored.price,
            total_price=stored.price * quantity,
            status="done" if fits else "rejected",
            reason=None if fits else "insufficient_stock",
            trace_id=trace_id,
            key=key,
        )
        self.orders.append(order)
        self.reservations.append(
            Reservation(order.id, stored.id, quantity, "reserved" if fits else "rejected", order.reason)
        )
        self.history[order.id] = [Entry("pending", None, trace_id), Entry(order.status, order.reason, trace_id)]
        if fits:
            self._move(product, "reserve", -quantity, order.id)
        self._attempt(outcome, statuses[-1], self._as_placed(order))
        return len(self.outcomes) - 1

    def was_accepted(self, operation: int) -> bool:
        return self.outcomes[operation].attempts[-1].status == 201

    def repeat(self, operation: int) -> None:
        """A keyed order, whose first answer comes again."""
        outcome = self.outcomes[operation]
        [order] = [order for order in self.orders if order.key == outcome.operation.key]
        self._attempt(outcome, 201, self._as_placed(order))

    def cancel(self, operation: int, status: int | None = 200) -> None:
        """The order of an operation; one that is rejected stays so, and with 409 nothing happens."""
        [attempt] = [attempt for attempt in self.outcomes[operation].attempts if attempt.status in {201, 504}][:1]
        [number] = [number for number, order in enumerate(self.orders) if order.trace_id == attempt.trace_id]
        order = self.orders[number]
        outcome = self._begin("cancel", self.outcomes[operation].operation.product, of=operation)
        if order.status == "done" and status != 409:
            self.orders[number] = replace(order, status="cancelled")
            self.reservations[number] = replace(self.reservations[number], outcome="released")
            self.history[order.id].append(Entry("cancelled", None, self._trace_id(outcome)))
            self._move(order.product_id - FIRST_ID, "release", order.quantity, order.id)
        refused = order.status == "rejected"
        self._attempt(outcome, 409 if refused else status, None if refused else self.orders[number].as_json())

    def adjust(self, product: int, delta: int, key: str, status: int | None = 200) -> None:
        """What would leave less than nothing is refused."""
        outcome = self._begin("adjust", product, amount=delta, key=key)
        if self.products[product].qty + delta < 0:
            self._attempt(outcome, 409, details=[{"field": "delta", "message": "The stock is less."}])
        else:
            self._move(product, "adjustment", delta, reason=f"operation {len(self.outcomes) - 1}")
            self._attempt(outcome, status, self.products[product].as_json())

    def reprice(self, product: int, price: str, status: int | None = 200) -> None:
        outcome = self._begin("reprice", product, price=price)
        stored = self.products[product]
        self.products[product] = replace(stored, price=Decimal(price), version=stored.version + 1)
        self._attempt(outcome, status, self.products[product].as_json())

    def read(self, product: int) -> None:
        self._attempt(self._begin("read", product), 200, self.products[product].as_json())

    def list_orders(self, product: int) -> None:
        self._attempt(self._begin("list", product), 200, self._page(self.products[product].id))

    def refuse(self, action: Action, product: int, status: int | None, code: str | None = None) -> None:
        """An operation that came to nothing."""
        outcome = self._begin(action, product, amount=1, price="1.00")
        self._attempt(outcome, status, code=code)

    @property
    def plan(self) -> Plan:
        operations = tuple(outcome.operation for outcome in self.outcomes)
        return Plan(1, self._now, self.plan_products, operations, tuple(self.faults))

    @property
    def record(self) -> Record:
        return Record([product.id for product in self.products], self.outcomes)

    @property
    def state(self) -> State:
        return State(
            products=self.products,
            movements=self.movements,
            reservations=self.reservations,
            orders=self.orders,
            history=self.history,
            outboxes={"products-db": 0, "orders-db": 0},
            queues={queue.name: 0 for queue in QUEUES},
            dead_letters=[],
            cached=[cached for product in self.products for cached in self._cached(product)],
            answers=[answer for number in (1, 2) for answer in self._answers(number)],
        )

    def _cached(self, product: Stored) -> Sequence[Cached]:
        shown = product.as_json()
        known = {name: shown[name] for name in ("id", "name", "price")}
        page = {"next": None, "orders": self._page(product.id)}
        return (
            Cached("products-redis", f"product:{product.id}", {**shown, "createdAt": "…"}, 59.0),
            Cached("orders-redis", f"product:{product.id}", known, 1.0),
            Cached("orders-redis", f"orders:product:{product.id}", page, 60.0),
        )

    def _answers(self, number: int) -> Sequence[Answer]:
        return [
            *(
                Answer(f"products-{number}", f"/products/{product.id}", 200, {"data": product.as_json()})
                for product in self.products
            ),
            *(
                Answer(
                    f"orders-{number}",
                    f"/orders/product/{product.id}",
                    200,
                    {"data": self._page(product.id), "page": {"limit": 50, "next": None}},
                )
                for product in self.products
            ),
            *(
                Answer(f"orders-{number}", f"/orders/{order.id}", 200, {"data": order.as_json()})
                for order in self.orders
            ),
        ]

    def _page(self, product_id: int) -> list[dict[str, Any]]:
        return [order.as_json() for order in reversed(self.orders) if order.product_id == product_id]

    def _as_placed(self, order: Order) -> dict[str, Any]:
        return {**order.as_json(), "status": "pending", "reason": None, "createdAt": "…"}

    def _begin(self, action: Action, product: int, **options: Any) -> Outcome:
        self._now += _STEP
        outcome = Outcome(Operation(self._now, action, product, **options))
        self.outcomes.append(outcome)
        return outcome

    def _trace_id(self, outcome: Outcome) -> str:
        """Of its next attempt."""
        return f"{self.outcomes.index(outcome):016x}{len(outcome.attempts):016x}"

    def _attempt(
        self, outcome: Outcome, status: int | None, data: Any = None, *, code: str | None = None, details: Any = None
    ) -> None:
        trace_id = self._trace_id(outcome)
        began = self._now
        self._now += _STEP / 2
        body = None
        if status is not None:
            body = {"statusCode": status, "data": data if status < 400 else None, "traceId": trace_id}
            if status >= 400:
                usual = {409: "conflict", 502: "upstream_error", 503: "unavailable", 504: "upstream_timeout"}
                body["error"] = {"code": code or usual[status], "message": "…", "details": details}
        is_deferred = status == 503 or (status == 409 and outcome.operation.action == "order")
        outcome.attempts.append(Attempt(trace_id, began, self._now, status, body, is_deferred=is_deferred))

    def _move(
        self, product: int, kind: str, delta: int, order_id: int | None = None, reason: str | None = None
    ) -> None:
        stored = self.products[product]
        if kind != "initial":
            self.products[product] = replace(stored, qty=stored.qty + delta)
        self.movements.append(Movement(len(self.movements) + 1, stored.id, kind, delta, order_id, reason))
