"""Decides which orders get stock and which give it back, without I/O."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from shared.contracts.events import Reason

Outcome = Literal["reserved", "rejected", "released"]


@dataclass(frozen=True, slots=True)
class Claim:
    """An order asks for stock. The answer goes back under `traceparent`."""

    order_id: int
    product_id: int
    quantity: int
    traceparent: str | None = None
    order_uid: str | None = None
    product_uid: str | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """A cancelled order needs no stock any more, whether it has got it or not."""

    order_id: int
    product_id: int
    quantity: int
    order_uid: str | None = None
    product_uid: str | None = None


@dataclass(frozen=True, slots=True)
class Reservation:
    """What an order got: all of its quantity, nothing for a reason, or nothing since it was cancelled."""

    order_id: int
    product_id: int
    quantity: int
    outcome: Outcome
    reason: str | None = None
    order_uid: str | None = None

    def is_of(self, request: Claim | Release) -> bool:
        """Whether the request is of the same order, and not of another one that has the same number.

        Where a release before identities placed the order, product and quantity must do.
        """
        same = (self.product_id, self.quantity) == (request.product_id, request.quantity)
        return same and (None in (self.order_uid, request.order_uid) or self.order_uid == request.order_uid)


@dataclass(frozen=True, slots=True)
class OnHand:
    """The stock of a product, and its identity."""

    quantity: int
    uid: str | None = None


@dataclass(frozen=True, slots=True)
class StockMovement:
    """A change of a product's stock by an order."""

    product_id: int
    order_id: int
    kind: Literal["reserve", "release"]
    delta: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """The outcome of a batch of claims and releases.

    `made` holds new reservations, `ended` the orders whose earlier reservation is released now. `answers` go to the
    orders that have claimed; a cancelled order gets no answer. `conflicts` holds the positions of requests whose
    number another order has a reservation for: they changed nothing and get no answer. `blocked` holds those of
    requests whose product is locked: nothing is decided for them yet.
    """

    made: list[Reservation]
    ended: list[int]
    movements: list[StockMovement]
    answers: list[tuple[Claim, Reservation]]
    conflicts: list[int]
    blocked: list[int]

    @property
    def changes(self) -> dict[int, int]:
        """The sum of the movements of each product that is not zero, by product id."""
        totals: dict[int, int] = {}
        for movement in self.movements:
            totals[movement.product_id] = totals.get(movement.product_id, 0) + movement.delta
        return {product_id: delta for product_id, delta in totals.items() if delta}


def settle(
    stock: Mapping[int, OnHand],
    known: Mapping[int, Reservation],
    requests: Iterable[Claim | Release],
    locked: Collection[int] = (),
) -> Settlement:
    """Serves claims in the order they came, each in full or not at all; what one cannot get, later ones may.

    `stock` has each product that exists by its id, except for the `locked` ones; `known` maps order ids to earlier
    reservations.
    An order is decided once and released once, however often and in whatever sequence its requests come.
    """
    batch = _Batch(stock, known)
    claims: dict[int, Claim] = {}
    conflicts, blocked = [], []
    for position, request in enumerate(requests):
        if request.product_id in locked:
            blocked.append(position)
        elif not batch.is_known_as(request):
            conflicts.append(position)
        elif isinstance(request, Claim):
            claims.setdefault(request.order_id, request)
            batch.claim(request)
        else:
            batch.release(request)
    now = batch.reservations
    return Settlement(
        made=[reservation for order_id, reservation in now.items() if order_id not in known],
        ended=[order_id for order_id, before in known.items() if now[order_id] != before],
        movements=batch.movements,
        answers=[(claim, now[id_]) for id_, claim in claims.items() if now[id_].outcome != "released"],
        conflicts=conflicts,
        blocked=blocked,
    )


class _Batch:
    """Stock and reservations as they change from request to request."""

    def __init__(self, products: Mapping[int, OnHand], known: Mapping[int, Reservation]) -> None:
        self._products = products
        self._stock = {product_id: on_hand.quantity for product_id, on_hand in products.items()}
        self.reservations = dict(known)
        self.movements: list[StockMovement] = []

    def is_known_as(self, request: Claim | Release) -> bool:
        """False if another order has the reservation of this number."""
        reservation = self.reservations.get(request.order_id)
        return reservation is None or reservation.is_of(request)

    def claim(self, claim: Claim) -> None:
        if claim.order_id in self.reservations:
            return
        reason = self._refusal(claim)
        self._record(claim, "rejected" if reason else "reserved", reason)
        if reason is None:
            self._move(claim, "reserve", -claim.quantity)

    def release(self, release: Release) -> None:
        reservation = self.reservations.get(release.order_id)
        if reservation is None:
            # The cancellation has overtaken the claim, which will find this reservation and get nothing.
            self._record(release, "released")
        elif reservation.outcome == "reserved":
            self.reservations[release.order_id] = replace(reservation, outcome="released")
            self._move(reservation, "release", reservation.quantity)

    def _refusal(self, claim: Claim) -> Reason | None:
        product = self._products.get(claim.product_id)
        if product is None or (claim.product_uid is not None and claim.product_uid != product.uid):
            return Reason.PRODUCT_NOT_FOUND  # the second: the product that was ordered is lost
        return Reason.INSUFFICIENT_STOCK if self._stock[claim.product_id] < claim.quantity else None

    def _record(self, request: Claim | Release, outcome: Outcome, reason: Reason | None = None) -> None:
        order_id = request.order_id
        self.reservations[order_id] = Reservation(
            order_id, request.product_id, request.quantity, outcome, reason, request.order_uid
        )

    def _move(self, order: Claim | Reservation, kind: Literal["reserve", "release"], delta: int) -> None:
        self._stock[order.product_id] = self._stock.get(order.product_id, 0) + delta
        self.movements.append(StockMovement(order.product_id, order.order_id, kind, delta))
