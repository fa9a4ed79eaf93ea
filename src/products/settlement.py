"""What stock is given to whom, and what comes back: decided without any I/O."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from shared.contracts.events import Reason

Outcome = Literal["reserved", "rejected", "released"]


@dataclass(frozen=True, slots=True)
class Claim:
    """An order asks for stock; `traceparent` goes back with the answer."""

    order_id: int
    product_id: int
    quantity: int
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """An order was cancelled and needs no stock, whether it has got it or not."""

    order_id: int
    product_id: int
    quantity: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """What an order got: all of its quantity, nothing and the reason, or nothing any more."""

    order_id: int
    product_id: int
    quantity: int
    outcome: Outcome
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """A stock movement that an order caused."""

    product_id: int
    order_id: int
    kind: Literal["reserve", "release"]
    delta: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a batch of claims and releases comes to.

    `made` are new reservations and `ended` the orders whose reservation was there and is released now. `answers` go to
    the orders, each with the traceparent of its claim; one that was cancelled is told nothing.
    """

    made: list[Reservation]
    ended: list[int]
    moves: list[Move]
    answers: list[tuple[Reservation, str | None]]

    @property
    def changes(self) -> dict[int, int]:
        """Product id to what its stock changes by."""
        totals: dict[int, int] = {}
        for move in self.moves:
            totals[move.product_id] = totals.get(move.product_id, 0) + move.delta
        return {product_id: delta for product_id, delta in totals.items() if delta}


def settle(
    stock: Mapping[int, int], known: Mapping[int, Reservation], requests: Iterable[Claim | Release]
) -> Settlement:
    """First come, first served, never more than there is; a claim that does not fit leaves the rest to later ones.

    `stock` maps product id to quantity, and a product that is not in it does not exist. `known` maps order id to the
    reservation made before: an order is decided once and released once, however often it asks, in whatever order.
    """
    book = _Book(stock, known)
    claims: dict[int, Claim] = {}
    for request in requests:
        if isinstance(request, Claim):
            claims.setdefault(request.order_id, request)
            book.claim(request)
        else:
            book.release(request)
    now = book.reservations
    return Settlement(
        made=[reservation for order_id, reservation in now.items() if order_id not in known],
        ended=[order_id for order_id, before in known.items() if now[order_id] != before],
        moves=book.moves,
        answers=[
            (now[order_id], claim.traceparent)
            for order_id, claim in claims.items()
            if now[order_id].outcome != "released"
        ],
    )


class _Book:
    """Stock and reservations while a batch is gone through."""

    def __init__(self, stock: Mapping[int, int], known: Mapping[int, Reservation]) -> None:
        self._stock = dict(stock)
        self.reservations = dict(known)
        self.moves: list[Move] = []

    def claim(self, claim: Claim) -> None:
        if claim.order_id in self.reservations:
            return
        reason = self._refusal(claim)
        outcome: Outcome = "rejected" if reason else "reserved"
        self._note(claim, outcome, reason)
        if outcome == "reserved":
            self._move(claim.product_id, claim.order_id, "reserve", -claim.quantity)

    def release(self, release: Release) -> None:
        reservation = self.reservations.get(release.order_id)
        if reservation is None:
            # Cancelled before it was claimed: noted, so that the claim finds it.
            self._note(release, "released")
        elif reservation.outcome == "reserved":
            self.reservations[release.order_id] = replace(reservation, outcome="released")
            self._move(reservation.product_id, reservation.order_id, "release", reservation.quantity)

    def _refusal(self, claim: Claim) -> Reason | None:
        stock = self._stock.get(claim.product_id)
        if stock is None:
            return Reason.PRODUCT_NOT_FOUND
        return Reason.INSUFFICIENT_STOCK if stock < claim.quantity else None

    def _note(self, request: Claim | Release, outcome: Outcome, reason: Reason | None = None) -> None:
        self.reservations[request.order_id] = Reservation(
            request.order_id, request.product_id, request.quantity, outcome, reason
        )

    def _move(self, product_id: int, order_id: int, kind: Literal["reserve", "release"], delta: int) -> None:
        self._stock[product_id] = self._stock.get(product_id, 0) + delta
        self.moves.append(Move(product_id, order_id, kind, delta))
