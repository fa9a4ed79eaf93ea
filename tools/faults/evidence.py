"""The evidence of one round, arranged for the rules of the verdict, and what a rule finds."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import cached_property

from tools.faults.plan import SERVICES, Kind, Operation
from tools.faults.record import Attempt, Record, Request
from tools.faults.state import Json, State

# Faults by which a statement may arrive, or be done, later than its sender waits for it.
_HOLDING = {Kind.STALL, Kind.LAG, Kind.FREEZE}


class Breach(StrEnum):
    """The promise that was not kept."""

    LOST = "accepted order lost"
    ALTERED = "order is not what was accepted"
    DOUBLED = "one request, several orders"
    UNASKED = "order that no request explains"
    PRICE = "price of an order"
    UNFINISHED = "unfinished order"
    REJECTED = "order rejected without cause"
    CANCELLED = "order and its cancellation disagree"
    HISTORY = "history of an order"
    CATALOGUE = "price or version of a product"
    STOCK = "stock"
    BELOW_ZERO = "stock below zero"
    ADJUSTMENT = "adjustment of stock"
    ROWS = "rows disagree"
    OUTBOX = "outbox not empty"
    QUEUE = "queue not empty"
    DEAD_LETTER = "dead letter"
    CACHE = "cache and source disagree"
    REPLICA = "replicas disagree"
    OWN_WRITE = "own write not seen"
    NO_ANSWER = "no answer"
    LATE = "late answer"
    ENVELOPE = "answer without its envelope"
    UNEXPLAINED = "answer that nothing explains"
    READINESS = "not ready again in time"
    PROCESS = "process broke a promise"
    UNREADABLE = "the system cannot be read"


@dataclass(frozen=True, slots=True)
class Difference:
    """A breach in words; the ids, where there are any, lead to its log lines."""

    kind: Breach
    text: str
    trace_id: str | None = None
    order_id: int | None = None

    @property
    def key(self) -> tuple[Breach, str | None, int | None]:
        """The same for the same difference, seen again: its text may have other times and counts by then."""
        return self.kind, self.trace_id, self.order_id

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


class Evidence:
    """Record and state of a round, with the look-ups that the rules share."""

    def __init__(self, record: Record, state: State) -> None:
        self.record, self.state, self.plan = record, state, record.plan
        self.orders, self.products = state.replicas[0].orders, state.replicas[0].products
        self.movements = state.replicas[0].movements

    def product_id(self, operation: Operation) -> int:
        return self.record.products[operation.product]

    @cached_property
    def orders_of_trace(self) -> Mapping[str, list[Json]]:
        found = defaultdict(list)
        for order in self.orders.values():
            found[order["traceId"]].append(order)
        return found

    @cached_property
    def orders_of_product(self) -> Mapping[int, list[Json]]:
        """The orders of each product, newest first."""
        found = defaultdict(list)
        for order in sorted(self.orders.values(), key=lambda order: -order["id"]):
            found[order["productId"]].append(order)
        return found

    @cached_property
    def creations(self) -> Mapping[str, tuple[Request, Attempt]]:
        """By trace id, the request that an order with that trace comes from."""
        return {
            attempt.trace_id: (request, attempt)
            for request in self.record.requests("order")
            for attempt in request.attempts
        }

    @cached_property
    def acceptances(self) -> Mapping[int, tuple[Operation, Attempt]]:
        """By order id, the first 201 that announced it."""
        found: dict[int, tuple[Operation, Attempt]] = {}
        for operation, attempt in self.record.attempts():
            if operation.action == "order" and (order_id := attempt.accepted_id) is not None:
                found.setdefault(order_id, (operation, attempt))
        return found

    @cached_property
    def cancellations(self) -> Mapping[int, list[Attempt]]:
        """By order id, the attempts to cancel it."""
        found = defaultdict(list)
        for operation, attempt in self.record.attempts():
            answer = self.record.outcomes[operation.of].answer if operation.action == "cancel" else None
            if answer and (order_id := answer.accepted_id) is not None:
                found[order_id].append(attempt)
        return found

    @cached_property
    def reprices(self) -> Mapping[int, Sequence[Request]]:
        """By the index of the product in the plan, the reprices that were not refused."""
        found = defaultdict(list)
        for request in self.record.requests("reprice"):
            if not request.is_refused:
                found[request.operation.product].append(request)
        return found

    def prices(self, product: int, *, began: float = -math.inf, ended: float = math.inf) -> set[Decimal]:
        """The prices that a reader between `began` and `ended` may see if it sees every finished write.

        `product` is an index into the plan. A reprice that overlaps, or whose answer left open what became of it, may
        have happened or not.
        """
        changes = [
            (Decimal(request.operation.price), attempt)
            for request in self.reprices.get(product, ())
            for attempt in request.attempts
            if attempt.began < ended
        ]
        finished = [attempt.began for _, attempt in changes if attempt.succeeded and attempt.ended < began]
        newest = max(finished, default=-math.inf)
        seen = {price for price, attempt in changes if not attempt.succeeded or attempt.ended >= newest}
        return seen if finished else seen | {Decimal(self.plan.products[product].price)}

    def drops_may_be_late(self, service: str) -> bool:
        """Whether Redis may not have taken some drop at once; until it does, other replicas read the old value."""
        return service in self.state.late_drops or any(
            fault.kind is Kind.CLOCK or fault.target.endswith(f"{service}-redis") for fault in self.plan.faults
        )

    def drops_may_be_missing(self, service: str) -> bool:
        """Whether the cache of a service may be old until its time to live ends.

        A replica may have died between a commit and its drop, or before a late drop; or a statement was held up on its
        way, and committed when its sender no longer waited.
        """
        deadly = {Kind.KILL, Kind.TERMINATE} if self.drops_may_be_late(service) else {Kind.KILL}
        return any(
            (fault.kind in deadly and fault.target in SERVICES and fault.target.startswith(service))
            or (fault.kind in _HOLDING and fault.target.endswith(f"{service}-db"))
            for fault in self.plan.faults
        )

    def has_fault(self, kind: Kind, target: str) -> bool:
        return any(fault.kind is kind and fault.target == target for fault in self.plan.faults)
