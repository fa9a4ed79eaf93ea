"""What one round left behind, arranged for the rules."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from http import HTTPStatus
from itertools import accumulate

from tools.faults.plan import REDISES, SERVICES, Action, Kind, Operation, Plan
from tools.faults.record import Attempt, Outcome, Record
from tools.faults.state import Movement, Order, Product, Reservation, State

# What lets a statement arrive, or be done, later than its sender waits.
_HOLDING = {Kind.STALL, Kind.LAG, Kind.FREEZE}


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be done at most once: all attempts under one key, or a single one without a key."""

    index: int
    """Of the operation in the plan."""
    operation: Operation
    attempts: tuple[Attempt, ...]

    @property
    def has_succeeded(self) -> bool:
        return any(map(succeeded, self.attempts))

    @property
    def is_refused(self) -> bool:
        """Whether it is certain that nothing was done."""
        return all(attempt.is_certain and not succeeded(attempt) for attempt in self.attempts)

    @property
    def trace_ids(self) -> set[str]:
        return {attempt.trace_id for attempt in self.attempts}


class Evidence:
    """Plan, record and state of a round, with the look-ups that the rules share."""

    def __init__(self, plan: Plan, record: Record, state: State) -> None:
        self.plan, self.record, self.state = plan, record, state

    def outcomes(self, action: Action) -> Iterator[Outcome]:
        return (outcome for outcome in self.record.outcomes if outcome.operation.action == action)

    def requests(self, action: Action) -> Iterator[Request]:
        """Only what was sent."""
        for index, outcome in enumerate(self.record.outcomes):
            if outcome.operation.action != action:
                continue
            if outcome.operation.key is None:
                yield from (Request(index, outcome.operation, (attempt,)) for attempt in outcome.attempts)
            elif outcome.attempts:
                yield Request(index, outcome.operation, tuple(outcome.attempts))

    def product_id(self, operation: Operation) -> int:
        return self.record.products[operation.product]

    @cached_property
    def products(self) -> Mapping[int, Product]:
        return {product.id: product for product in self.state.products}

    @cached_property
    def orders(self) -> Mapping[int, Order]:
        return {order.id: order for order in self.state.orders}

    @cached_property
    def reservations(self) -> Mapping[int, Reservation]:
        """By order id."""
        return {reservation.order_id: reservation for reservation in self.state.reservations}

    @cached_property
    def orders_of_trace(self) -> Mapping[str, list[Order]]:
        found = defaultdict(list)
        for order in self.state.orders:
            found[order.trace_id].append(order)
        return found

    @cached_property
    def orders_of_product(self) -> Mapping[int, list[Order]]:
        """Newest first."""
        found = defaultdict(list)
        for order in sorted(self.state.orders, key=lambda order: -order.id):
            found[order.product_id].append(order)
        return found

    @cached_property
    def movements_of_order(self) -> Mapping[int | None, list[Movement]]:
        """Oldest first; those of no order under None."""
        found = defaultdict(list)
        for movement in sorted(self.state.movements, key=lambda movement: movement.id):
            found[movement.order_id].append(movement)
        return found

    @cached_property
    def movements_of_product(self) -> Mapping[int, list[Movement]]:
        """In the order in which they were made: each is written while the product's row is locked."""
        found = defaultdict(list)
        for movement in sorted(self.state.movements, key=lambda movement: movement.id):
            found[movement.product_id].append(movement)
        return found

    def stock_levels(self, product_id: int) -> Iterator[int]:
        """The stock after each movement, by the movements alone."""
        return accumulate(movement.delta for movement in self.movements_of_product.get(product_id, ()))

    @cached_property
    def creations(self) -> Mapping[str, tuple[Request, Attempt]]:
        """By trace id: what an order with that trace was asked for with."""
        return {
            attempt.trace_id: (request, attempt) for request in self.requests("order") for attempt in request.attempts
        }

    @cached_property
    def acceptances(self) -> Mapping[int, tuple[Outcome, Attempt]]:
        """By order id: the first 201 that told of it."""
        found: dict[int, tuple[Outcome, Attempt]] = {}
        for outcome in self.outcomes("order"):
            for attempt in outcome.attempts:
                order_id = accepted_id(attempt)
                if order_id is not None:
                    found.setdefault(order_id, (outcome, attempt))
        return found

    @cached_property
    def cancellations(self) -> Mapping[int, list[Attempt]]:
        """By order id."""
        found = defaultdict(list)
        for outcome in self.outcomes("cancel"):
            answer = self.record.outcomes[outcome.operation.of].answer
            order_id = accepted_id(answer) if answer else None
            if order_id is not None:
                found[order_id].extend(outcome.attempts)
        return found

    @cached_property
    def reprices(self) -> Mapping[int, list[Request]]:
        """By the index of the product in the plan; without those that were refused."""
        found = defaultdict(list)
        for request in self.requests("reprice"):
            if not request.is_refused:
                found[request.operation.product].append(request)
        return found

    def prices(self, product: int, *, began: float = -math.inf, ended: float = math.inf) -> set[Decimal]:
        """What one who reads between `began` and `ended`, and sees every finished write, may see; an index of a plan.

        A reprice that overlaps, or whose answer left open what became of it, may have happened or not.
        """
        changes = [
            (Decimal(request.operation.price), attempt)
            for request in self.reprices.get(product, ())
            for attempt in request.attempts
            if attempt.began < ended
        ]
        finished = [attempt.began for _, attempt in changes if succeeded(attempt) and attempt.ended < began]
        newest = max(finished, default=-math.inf)
        seen = {price for price, attempt in changes if not succeeded(attempt) or attempt.ended >= newest}
        return seen if finished else seen | {Decimal(self.plan.products[product].price)}

    @cached_property
    def drops_may_be_late(self) -> bool:
        """Whether Redis may not have taken some drop at once: until it does, another replica reads what was before."""
        return self.state.late_drops or any(
            fault.kind is Kind.CLOCK or fault.target.rpartition(">")[2] in REDISES for fault in self.plan.faults
        )

    def drops_may_be_missing(self, service: str) -> bool:
        """Whether a replica may have died between a commit and its drop, or owing one: then a TTL is the bound.

        So it is where a statement was held up on its way, and committed when nobody waited for it any more.
        """
        deadly = {Kind.KILL, Kind.TERMINATE} if self.drops_may_be_late else {Kind.KILL}
        return any(
            (fault.kind in deadly and fault.target in SERVICES and fault.target.startswith(service))
            or (fault.kind in _HOLDING and fault.target.endswith(f"{service}-db"))
            for fault in self.plan.faults
        )

    def was_deleted(self, queue: str) -> bool:
        """What was in it is lost."""
        return any(fault.kind is Kind.DELETE_QUEUE and fault.target == queue for fault in self.plan.faults)


def succeeded(attempt: Attempt) -> bool:
    return attempt.status in {HTTPStatus.OK, HTTPStatus.CREATED}


def accepted_id(attempt: Attempt) -> int | None:
    """Of the order that a 201 told of."""
    if attempt.status != HTTPStatus.CREATED or not isinstance(attempt.data, dict):
        return None
    order_id = attempt.data.get("id")
    return order_id if isinstance(order_id, int) else None


def reason_of(index: int) -> str:
    """What the clients give as the reason of an adjustment; of the operation in the plan."""
    return f"operation {index}"
