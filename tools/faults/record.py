"""The record of a round: every request of its clients with the answer, and when each fault really began and ended."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from tools.faults.plan import Action, Fault, Operation, Plan


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request. Times are seconds since the round began; without an answer there is no status."""

    trace_id: str
    began: float
    ended: float
    status: int | None = None
    body: Any = None
    """The envelope; None if the answer was not JSON."""
    error: str = ""
    """Why there was no answer."""
    is_deferred: bool = False
    """The answer has `Retry-After`, as the 409 has for a confirmation of an order that is still pending."""

    @property
    def data(self) -> Any:
        return self.body.get("data") if isinstance(self.body, dict) else None

    @property
    def code(self) -> str | None:
        """The code of a failure that is enveloped."""
        error = self.body.get("error") if isinstance(self.body, dict) else None
        return error.get("code") if isinstance(error, dict) else None

    @property
    def succeeded(self) -> bool:
        return self.status in {HTTPStatus.OK, HTTPStatus.CREATED}

    @property
    def is_certain(self) -> bool:
        """Whether the answer settles what became of the request: a 5xx, a deferral and no answer leave it open."""
        answered = self.status is not None and self.status < HTTPStatus.INTERNAL_SERVER_ERROR
        return answered and not self.is_deferred

    @property
    def has_failed(self) -> bool:
        """Whether there was no answer, or one that says neither what came of the request nor when to come again."""
        return not self.is_certain and not self.is_deferred

    @property
    def is_refused(self) -> bool:
        """Whether the answer says that this request did nothing: a refusal, a deferral, or a 503.

        Any other failed answer, as 504 `outcome_unknown`, and no answer leave that open.
        """
        status = self.status or 0
        return (
            HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
            or status == HTTPStatus.SERVICE_UNAVAILABLE
        )

    @property
    def accepted_id(self) -> int | None:
        """The id of the order that a 201 announced."""
        if self.status != HTTPStatus.CREATED or not isinstance(self.data, dict):
            return None
        order_id = self.data.get("id")
        return order_id if isinstance(order_id, int) else None


@dataclass(slots=True)
class Outcome:
    """An operation and its attempts, one after the other; it is done at most once.

    Several attempts to place an order or to adjust stock are under one key, or of an order with one reference.
    """

    operation: Operation
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def answer(self) -> Attempt | None:
        """The first attempt whose answer was certain."""
        return next((attempt for attempt in self.attempts if attempt.is_certain), None)

    @property
    def has_succeeded(self) -> bool:
        return any(attempt.succeeded for attempt in self.attempts)

    @property
    def is_refused(self) -> bool:
        """Whether it is certain that nothing was done."""
        return all(attempt.is_refused for attempt in self.attempts)


@dataclass(slots=True)
class Record:
    """`products` are the ids of the plan's products, in its order; `lasted` when each fault really began and ended."""

    plan: Plan
    products: list[int] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    lasted: dict[Fault, tuple[float, float]] = field(default_factory=dict)
    began: float = 0.0
    """When the round began, in seconds since the epoch."""

    def attempts(self) -> Iterator[tuple[Operation, Attempt]]:
        return ((outcome.operation, attempt) for outcome in self.outcomes for attempt in outcome.attempts)

    def sent(self, action: Action) -> Iterator[Outcome]:
        """The operations of a kind that clients tried at all."""
        return (each for each in self.outcomes if each.operation.action == action and each.attempts)
