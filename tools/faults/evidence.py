"""The evidence of one round, arranged for the rules of the verdict, and what a rule finds."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import TypeVar

from tools.faults.plan import SERVICES, Action, Fault, Kind, Operation
from tools.faults.record import Attempt, Outcome, Record
from tools.faults.state import SOON_SECONDS, Json, State

Key = TypeVar("Key")
Value = TypeVar("Value")

# Seconds after a fault until nothing is left of it.
_PEACE = 3.0
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
    HELD_UP = "order held up by what it does not need"
    REJECTED = "order rejected without cause"
    CANCELLED = "order and its cancellation disagree"
    HOLD = "order and its hold disagree"
    WHOLE = "order is not whole"
    CATALOGUE = "price or version of a product"
    STOCK = "stock"
    RESERVATION = "order done without stock of its own"
    BELOW_ZERO = "stock below zero"
    ADJUSTMENT = "adjustment of stock"
    ROWS = "rows disagree"
    OUTBOX = "outbox not empty"
    QUEUE = "queue not empty"
    DEAD_LETTER = "dead letter"
    CACHE = "cache and source disagree"
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

    def product_id(self, operation: Operation) -> int:
        return self.record.products[operation.product]

    @cached_property
    def orders_of_trace(self) -> Mapping[str, list[Json]]:
        return _grouped((order["traceId"], order) for order in self.state.orders.values())

    @cached_property
    def orders_of_product(self) -> Mapping[int, list[Json]]:
        """The orders of each product, newest first."""
        newest_first = sorted(self.state.orders.values(), key=lambda order: -order["id"])
        return _grouped((product_id, order) for order in newest_first for product_id in pieces(order))

    @cached_property
    def creations(self) -> Mapping[str, tuple[Outcome, Attempt]]:
        """By trace id, the request that an order with that trace comes from."""
        return {
            attempt.trace_id: (outcome, attempt)
            for outcome in self.record.sent("order")
            for attempt in outcome.attempts
        }

    @cached_property
    def acceptances(self) -> Mapping[int, tuple[Operation, Attempt]]:
        """By order id, the first 201 that announced it."""
        found: dict[int, tuple[Operation, Attempt]] = {}
        for operation, attempt in self.record.attempts():
            if operation.action == "order" and (order_id := attempt.accepted_id) is not None:
                found.setdefault(order_id, (operation, attempt))
        return found

    def asked(self, action: Action, order_id: int) -> Sequence[Attempt]:
        """The attempts to cancel, confirm or extend an order."""
        return self._asked.get((action, order_id), ())

    def may_be_done(self, action: Action, order_id: int) -> bool:
        """Whether an answer says that the order was cancelled, confirmed or extended, or leaves it open."""
        return any(not attempt.is_refused for attempt in self.asked(action, order_id))

    @cached_property
    def _asked(self) -> Mapping[tuple[Action, int], list[Attempt]]:
        return _grouped(
            ((operation.action, answer.accepted_id), attempt)
            for operation, attempt in self.record.attempts()
            if operation.of >= 0
            and (answer := self.record.outcomes[operation.of].answer)
            and answer.accepted_id is not None
        )

    @cached_property
    def reprices(self) -> Mapping[int, Sequence[Outcome]]:
        """By the index of the product in the plan, the reprices that were not refused."""
        return _grouped((each.operation.product, each) for each in self.record.sent("reprice") if not each.is_refused)

    def prices(self, product: int, *, began: float = -math.inf, ended: float = math.inf) -> set[Decimal]:
        """The prices that a reader between `began` and `ended` may see if it sees every finished write.

        `product` is an index into the plan. A reprice that overlaps, or whose answer left open what became of it, may
        have happened or not.
        """
        changes = [
            (Decimal(outcome.operation.price), attempt)
            for outcome in self.reprices.get(product, ())
            for attempt in outcome.attempts
            if attempt.began < ended and not attempt.is_refused
        ]
        finished = [attempt.began for _, attempt in changes if attempt.succeeded and attempt.ended < began]
        newest = max(finished, default=-math.inf)
        seen = {price for price, attempt in changes if not attempt.succeeded or attempt.ended >= newest}
        return seen if finished else seen | {Decimal(self.plan.products[product].price)}

    def may_be_held(self, order: Json) -> bool:
        """Whether a hold may still last in the end: it began on a clock that had jumped ahead."""
        soon = self.record.began + self.plan.seconds + SOON_SECONDS
        is_far = order["expiresAt"] is not None and time_of(order["expiresAt"]) > soon
        return is_far and self.has_fault(Kind.CLOCK, "orders-db")

    def may_be_old(self, service: str, attempt: Attempt) -> bool:
        """Whether a replica of the service lacked a drop meanwhile: the other one reads the old value until then."""
        began, ended = self.record.began + attempt.began, self.record.began + attempt.ended
        return any(first <= ended and began <= last for first, last in self.state.bypasses[service])

    def may_be_old_in_the_end(self, service: str) -> bool:
        """Whether the cache of a service may be old until its time to live ends.

        A replica may have died between a commit and its drop, or before a drop that was late; or a statement was held
        up on its way, and committed when its sender no longer waited.
        """
        return any(last == math.inf for _, last in self.state.bypasses[service]) or any(
            (fault.kind is Kind.KILL and fault.target in SERVICES and fault.target.startswith(service))
            or (fault.kind in _HOLDING and fault.target.endswith(f"{service}-db"))
            for fault in self.plan.faults
        )

    @property
    def is_restored(self) -> bool:
        """Whether a database has lost its tail."""
        return any(fault.kind is Kind.RESTORE for fault in self.plan.faults)

    def alone(self, kind: Kind) -> Iterator[tuple[Fault, float, float]]:
        """Faults of a kind that nothing else was broken beside, and from when to when they lasted."""
        for fault in self.plan.faults:
            began, ended = self.record.lasted[fault]
            others = (times for other, times in self.record.lasted.items() if other is not fault)
            if fault.kind is kind and all(last + _PEACE < began or ended < first for first, last in others):
                yield fault, began, ended

    def has_fault(self, kind: Kind, target: str) -> bool:
        return any(fault.kind is kind and fault.target == target for fault in self.plan.faults)


def pieces(order: Json) -> dict[int, int]:
    """How many of each product an order has, by product id."""
    return {line["productId"]: line["quantity"] for line in order["lines"]}


def time_of(shown: str) -> float:
    """A time that the API shows, in seconds since the epoch."""
    return datetime.fromisoformat(shown).timestamp()


def _grouped(pairs: Iterable[tuple[Key, Value]]) -> dict[Key, list[Value]]:
    found: dict[Key, list[Value]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found
