"""What stock can be given to whom: decided without any I/O."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from shared.contracts.events import Reason

Answer = Literal["reserved", "rejected"]


@dataclass(frozen=True, slots=True)
class Claim:
    """The stock that an order asks for; `traceparent` goes back with the answer."""

    order_id: int
    product_id: int
    quantity: int
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a claim got: all of its quantity, or nothing and the reason."""

    claim: Claim
    answer: Answer
    reason: Reason | None = None


def allocate(stock: Mapping[int, int], claims: Iterable[Claim]) -> list[Outcome]:
    """First come, first served, never more than there is; a claim that does not fit leaves the rest to later ones.

    `stock` maps product id to quantity; a product that is not in it does not exist.
    """
    left = dict(stock)
    outcomes = []
    for claim in claims:
        if claim.product_id not in left:
            outcomes.append(Outcome(claim, "rejected", Reason.PRODUCT_NOT_FOUND))
        elif left[claim.product_id] < claim.quantity:
            outcomes.append(Outcome(claim, "rejected", Reason.INSUFFICIENT_STOCK))
        else:
            left[claim.product_id] -= claim.quantity
            outcomes.append(Outcome(claim, "reserved"))
    return outcomes


def taken(outcomes: Iterable[Outcome]) -> dict[int, int]:
    """Product id to the quantity that `outcomes` take from it."""
    totals: dict[int, int] = {}
    for outcome in outcomes:
        if outcome.answer == "reserved":
            claim = outcome.claim
            totals[claim.product_id] = totals.get(claim.product_id, 0) + claim.quantity
    return totals
