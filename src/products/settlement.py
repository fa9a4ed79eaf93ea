"""Decides which orders get stock and which give it back, without I/O."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, get_args

from shared.contracts.events import Reason

Outcome = Literal["reserved", "rejected", "released", "archived"]


class Line(NamedTuple):
    """A product of an order and how many of it; an order has each product once."""

    product_id: int
    quantity: int
    product_uid: str | None = None


class Claim(NamedTuple):
    """An order asks for stock, of all its lines or of none. The answer goes back under `traceparent`.

    `held` if the order is to be confirmed once it has its stock.
    """

    order_id: int
    lines: tuple[Line, ...]
    order_uid: str | None = None
    held: bool = False
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """A cancelled or expired order needs no stock any more, whether it has got it or not."""

    order_id: int
    lines: tuple[Line, ...]
    order_uid: str | None = None
    expired: bool = False


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A held order keeps its stock for good."""

    order_id: int
    lines: tuple[Line, ...]
    order_uid: str | None = None


Request: TypeAlias = Claim | Release | Confirmation


class Shortage(NamedTuple):
    """A line that could not be served."""

    product_id: int
    requested: int
    available: int


class Reservation(NamedTuple):
    """What an order got: all of its lines, nothing for a reason, or nothing since it was cancelled or has expired."""

    order_id: int
    lines: tuple[Line, ...]
    outcome: Outcome
    reason: str | None = None
    order_uid: str | None = None
    held: bool = False
    shortages: tuple[Shortage, ...] = ()

    def is_of(self, request: Request) -> bool:
        """Whether the request is of the same order, and not of another one that has the same number.

        Where a release before identities placed the order, products and quantities must do.
        """
        is_known = None not in (self.order_uid, request.order_uid)
        if is_known and (self.order_uid != request.order_uid or self.outcome == "archived"):
            return self.order_uid == request.order_uid  # of an archived order only the first line is left
        return [line[:2] for line in self.lines] == [line[:2] for line in request.lines]


@dataclass(frozen=True, slots=True)
class OnHand:
    """The stock of a product, and its identity."""

    quantity: int
    uid: str | None = None


class StockMovement(NamedTuple):
    """A change of a product's stock by an order."""

    product_id: int
    order_id: int
    kind: Literal["reserve", "release"]
    delta: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """The outcome of a batch of requests.

    `made` holds new reservations, `changed` earlier ones that are released or confirmed now. `holds` is by how much
    the held stock of each product changes. `answers` go to the orders that have claimed; a cancelled order gets no
    answer. `conflicts` holds the positions of requests that contradict what is known: they changed nothing and get no
    answer. `unknown` holds those of requests whose reservation has an outcome of a newer release, `blocked` those of
    requests of which a product is locked: nothing is decided for them yet.
    """

    made: list[Reservation]
    changed: list[Reservation]
    movements: list[StockMovement]
    holds: Mapping[int, int]
    answers: list[tuple[Claim, Reservation]]
    conflicts: list[int]
    unknown: list[int]
    blocked: list[int]

    @property
    def stock_changes(self) -> dict[int, int]:
        """The sum of the movements of each product whose stock changes, free or held, by product id."""
        totals: dict[int, int] = dict.fromkeys(self.holds, 0)
        for movement in self.movements:
            totals[movement.product_id] = totals.get(movement.product_id, 0) + movement.delta
        return {product_id: delta for product_id, delta in totals.items() if delta or self.holds.get(product_id)}


def settle(
    stock: Mapping[int, OnHand],
    known: Mapping[int, Reservation],
    requests: Iterable[Request],
    locked: Collection[int] = (),
) -> Settlement:
    """Serves claims in the order they came, each in full or not at all; what one cannot get, later ones may.

    `stock` has each product that exists by its id, except for the `locked` ones; `known` maps order ids to earlier
    reservations.
    An order is decided once and released once, however often and in whatever sequence its requests come.
    """
    batch = _Batch(stock, known)
    claims: dict[int, Claim] = {}
    conflicts, unknown, blocked = [], [], []
    for position, request in enumerate(requests):
        if locked and any(line.product_id in locked for line in request.lines):
            blocked.append(position)
        elif request.order_id in known and known[request.order_id].outcome not in get_args(Outcome):
            unknown.append(position)
        elif batch.contradicts(request):
            conflicts.append(position)
        elif isinstance(request, Claim):
            claims.setdefault(request.order_id, request)
            batch.claim(request)
        elif isinstance(request, Release):
            batch.release(request)
        else:
            batch.confirm(request)
    now = batch.reservations
    return Settlement(
        made=[reservation for order_id, reservation in now.items() if order_id not in known],
        changed=[now[order_id] for order_id, before in known.items() if now[order_id] != before],
        movements=batch.movements,
        holds=batch.holds,
        answers=[(claim, now[id_]) for id_, claim in claims.items() if now[id_].outcome in ("reserved", "rejected")],
        conflicts=conflicts,
        unknown=unknown,
        blocked=blocked,
    )


class _Batch:
    """Stock and reservations as they change from request to request."""

    def __init__(self, products: Mapping[int, OnHand], known: Mapping[int, Reservation]) -> None:
        self._products = products
        self._stock = {product_id: on_hand.quantity for product_id, on_hand in products.items()}
        self.reservations = dict(known)
        self.movements: list[StockMovement] = []
        self.holds = Counter[int]()

    def contradicts(self, request: Request) -> bool:
        """True if another order has the reservation of this number, or if what was confirmed is said to have expired.

        A restored orders-db does not know of the confirmation, nor did its client take it back.
        """
        reservation = self.reservations.get(request.order_id)
        if reservation is None:
            return False
        is_confirmed = reservation.outcome == "reserved" and not reservation.held
        return not reservation.is_of(request) or (isinstance(request, Release) and request.expired and is_confirmed)

    def claim(self, claim: Claim) -> None:
        if claim.order_id in self.reservations:
            return
        shortages = tuple(short for line in claim.lines if (short := self._shortage(line)))
        if shortages:
            found = all(self._has(line) for line in claim.lines)
            reason = Reason.INSUFFICIENT_STOCK if found else Reason.PRODUCT_NOT_FOUND
            self._record(claim, "rejected", reason=reason, shortages=shortages)
            return
        self._move(self._record(claim, "reserved", held=claim.held), "reserve", -1)

    def release(self, release: Release) -> None:
        reservation = self.reservations.get(release.order_id)
        if reservation is None:
            # The cancellation has overtaken the claim, which will find this reservation and get nothing.
            self._record(release, "released")
        elif reservation.outcome == "reserved":
            self._move(reservation, "release", +1)
            self.reservations[release.order_id] = reservation._replace(outcome="released", held=False)

    def confirm(self, confirmation: Confirmation) -> None:
        reservation = self.reservations.get(confirmation.order_id)
        if reservation is not None and reservation.held:
            self._hold(reservation, -1)
            self.reservations[confirmation.order_id] = reservation._replace(held=False)

    def _has(self, line: Line) -> bool:
        """False if there is no such product, or the one that was ordered is lost and another has its number."""
        product = self._products.get(line.product_id)
        return product is not None and (line.product_uid is None or line.product_uid == product.uid)

    def _shortage(self, line: Line) -> Shortage | None:
        available = self._stock[line.product_id] if self._has(line) else 0
        return Shortage(line.product_id, line.quantity, available) if available < line.quantity else None

    def _record(
        self,
        request: Claim | Release,
        outcome: Outcome,
        *,
        reason: Reason | None = None,
        held: bool = False,
        shortages: tuple[Shortage, ...] = (),
    ) -> Reservation:
        made = Reservation(request.order_id, request.lines, outcome, reason, request.order_uid, held, shortages)
        self.reservations[request.order_id] = made
        return made

    def _move(self, reservation: Reservation, kind: Literal["reserve", "release"], sign: int) -> None:
        order_id = reservation.order_id
        for line in reservation.lines:
            delta = sign * line.quantity
            self._stock[line.product_id] = self._stock.get(line.product_id, 0) + delta
            self.movements.append(StockMovement(line.product_id, order_id, kind, delta))
        if reservation.held:
            self._hold(reservation, -sign)

    def _hold(self, reservation: Reservation, sign: int) -> None:
        for line in reservation.lines:
            self.holds[line.product_id] += sign * line.quantity
