"""What is not as promised."""

from dataclasses import dataclass
from enum import StrEnum


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
    MOVEMENTS = "stock movements of an order"
    RESERVATION = "reservation of an order"
    ADJUSTMENT = "adjustment of stock"
    OUTBOX = "outbox not empty"
    QUEUE = "queue not empty"
    DEAD_LETTER = "dead letter"
    CACHE = "cache and database disagree"
    REPLICA = "answer of a replica and database disagree"
    OWN_WRITE = "own write not seen"
    NO_ANSWER = "no answer"
    LATE = "late answer"
    ENVELOPE = "answer without its envelope"
    UNEXPLAINED = "answer that nothing explains"
    READINESS = "not ready again in time"
    PROCESS = "process broke a promise"


@dataclass(frozen=True, slots=True)
class Difference:
    """The ids, where there are any, lead to the whole story."""

    kind: Breach
    text: str
    trace_id: str | None = None
    order_id: int | None = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"
