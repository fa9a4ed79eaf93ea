"""Batches of claims, confirmations and releases in any order and number, applied in turn as the service does it.

A model that takes one request after the other, without batches, says what must come of them.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from products.settlement import (
    Claim,
    Confirmation,
    Line,
    OnHand,
    Outcome,
    Release,
    Request,
    Reservation,
    Settlement,
    Shortage,
    settle,
)
from shared.contracts.events import Reason

# There is no product 6.
PRODUCTS = range(1, 7)
STOCK = st.fixed_dictionaries(dict.fromkeys(PRODUCTS[:-1], st.integers(0, 20)))
PLACES = st.lists(st.integers(0, 30), max_size=5)
LINES = st.dictionaries(st.sampled_from(PRODUCTS), st.integers(1, 12), min_size=1, max_size=5).map(
    lambda wanted: tuple(Line(*line) for line in wanted.items())
)


@dataclass(slots=True)
class Warehouse:
    """The stock and the reservations that the database holds."""

    stock: dict[int, int]
    held: Counter[int] = field(default_factory=Counter)
    reservations: dict[int, Reservation] = field(default_factory=dict)

    def settle(self, requests: Sequence[Request]) -> Settlement:
        order_ids = {request.order_id for request in requests}
        known = {order_id: self.reservations[order_id] for order_id in order_ids & self.reservations.keys()}
        given = dict(self.stock), dict(known), list(requests)
        settlement = settle(on_hand(self.stock), known, requests)
        assert given == (self.stock, known, list(requests))
        for product_id, delta in settlement.stock_changes.items():
            self.stock[product_id] += delta
            self.held[product_id] += settlement.holds.get(product_id, 0)
        assert not {made.order_id for made in settlement.made} & self.reservations.keys()
        assert {changed.order_id for changed in settlement.changed} <= known.keys()
        self.reservations |= {each.order_id: each for each in (*settlement.made, *settlement.changed)}
        return settlement

    @property
    def states(self) -> dict[int, str]:
        return {id_: "held" if each.held else each.outcome for id_, each in self.reservations.items()}


@dataclass(slots=True)
class Model:
    """Knows stock and a state for each order."""

    stock: dict[int, int]
    states: dict[int, str] = field(default_factory=dict)

    def take(self, request: Request) -> None:
        before = state = self.states.get(request.order_id)
        if isinstance(request, Claim) and state is None:
            fits = all(self.stock.get(line.product_id, 0) >= line.quantity for line in request.lines)
            state = ("held" if request.held else "reserved") if fits else "rejected"
        elif isinstance(request, Release) and state != "rejected":
            state = "released"
        elif isinstance(request, Confirmation) and state == "held":
            state = "reserved"
        if state is not None:
            self.states[request.order_id] = state
        taken = {"held": 1, "reserved": 1}
        for line in request.lines:
            if change := taken.get(before or "", 0) - taken.get(state or "", 0):
                self.stock[line.product_id] += change * line.quantity


@st.composite
def orders(draw: st.DrawFn) -> list[list[Request]]:
    """The requests that there may be about each order."""
    wanted = draw(st.lists(st.tuples(LINES, st.booleans()), min_size=1, max_size=6))
    return [
        [Claim(n, lines, held=held), Release(n, lines), *([Confirmation(n, lines)] if held else [])]
        for n, (lines, held) in enumerate(wanted, 1)
    ]


@st.composite
def requests(draw: st.DrawFn) -> list[Request]:
    """About a few orders, in any order and number."""
    each = [request for of_order in draw(orders()) for request in of_order]
    return draw(st.lists(st.sampled_from(each), max_size=30))


def on_hand(stock: Mapping[int, int]) -> dict[int, OnHand]:
    return {product_id: OnHand(quantity) for product_id, quantity in stock.items()}


def cut(sequence: Sequence[Request], places: Sequence[int]) -> list[Sequence[Request]]:
    edges = [0, *sorted(places), len(sequence)]
    return [sequence[start:end] for start, end in pairwise(edges)]


@given(STOCK, requests(), PLACES)
def test_batches_do_what_one_request_after_the_other_does(
    stock: dict[int, int], wanted: list[Request], places: list[int]
) -> None:
    warehouse, model, left = Warehouse(dict(stock)), Model(dict(stock)), dict(stock)
    moved, verdicts = defaultdict[int, list[tuple[str, int, int]]](list), dict[int, object]()
    for batch in cut(wanted, places):
        settlement = warehouse.settle(batch)
        for request in batch:
            model.take(request)
        for move in settlement.movements:
            left[move.product_id] += move.delta
            assert left[move.product_id] >= 0
            moved[move.order_id].append((move.kind, move.product_id, move.delta))
        # Each order that claims is answered once, and alike each time, unless it was cancelled or has expired.
        claimed = dict.fromkeys(request.order_id for request in batch if isinstance(request, Claim))
        answered = [answer.order_id for _, answer in settlement.answers]
        assert answered == [order_id for order_id in claimed if model.states[order_id] != "released"]
        for _, answer in settlement.answers:
            verdict = answer.outcome, answer.reason, answer.shortages
            assert verdicts.setdefault(answer.order_id, verdict) == verdict

    assert warehouse.states == model.states
    assert warehouse.stock == model.stock == left
    held = Counter[int]()
    for reservation in warehouse.reservations.values():
        take = [("reserve", product_id, -quantity) for product_id, quantity, _ in reservation.lines]
        give_back = [("release", product_id, quantity) for product_id, quantity, _ in reservation.lines]
        possible: dict[str, list[object]] = {
            "reserved": [take],
            "rejected": [[]],
            "released": [[], [*take, *give_back]],
        }
        assert moved[reservation.order_id] in possible[reservation.outcome]
        if reservation.held:
            held.update({line.product_id: line.quantity for line in reservation.lines})
    assert +warehouse.held == held == +held


@given(orders(), st.data())
def test_orders_end_alike_in_whatever_sequence_their_events_come(
    about: list[list[Request]], data: st.DataObject
) -> None:
    """With stock for all. What follows the answer to a claim, a confirmation or an end of a hold, comes after it."""
    released = data.draw(st.sets(st.integers(1, len(about))))
    first = [request for claim, release, *_ in about for request in (claim, release)]
    events = [each for each in first if isinstance(each, Claim) or each.order_id in released]
    again = data.draw(st.lists(st.sampled_from(events)))
    later = [confirmation for _, _, *confirmations in about for confirmation in confirmations]
    arriving = [*data.draw(st.permutations(events + again)), *data.draw(st.permutations(later + again))]
    warehouse = Warehouse(dict.fromkeys(PRODUCTS, 1_000))
    for batch in cut(
        arriving, data.draw(PLACES.map(lambda places: [place % (len(arriving) + 1) for place in places]))
    ):
        warehouse.settle(batch)
    ids = range(1, len(about) + 1)
    assert warehouse.states == {n: "released" if n in released else "reserved" for n in ids}
    assert +warehouse.held == {}
    for product_id, left in warehouse.stock.items():
        of_product = [line for n in ids if n not in released for line in about[n - 1][0].lines]
        assert 1_000 - left == sum(line.quantity for line in of_product if line.product_id == product_id)


FIVE = (Line(7, 5),)
TAKEN = Reservation(1, FIVE, "reserved")
HELD = Reservation(1, FIVE, "reserved", held=True)
REFUSED = Reservation(1, FIVE, "rejected", Reason.INSUFFICIENT_STOCK)
RELEASED = Reservation(1, FIVE, "released")
CLAIM, HOLD, CONFIRM, RELEASE = Claim(1, FIVE), Claim(1, FIVE, held=True), Confirmation(1, FIVE), Release(1, FIVE)
OTHER, THIRD = Claim(2, FIVE), Claim(3, FIVE)


@pytest.mark.parametrize(
    ("stock", "known", "requests", "made", "changed", "changes", "answered"),
    [
        pytest.param(5, [], [CLAIM, OTHER], ["reserved", "rejected"], [], -5, [1, 2], id="the first gets the last"),
        pytest.param(
            5, [], [Claim(1, (Line(7, 6),)), OTHER], ["rejected", "reserved"], [], -5, [1, 2], id="the next may fit"
        ),
        pytest.param(
            *(5, [], [CLAIM, OTHER, RELEASE, THIRD], ["released", "rejected", "reserved"], [], -5, [2, 3]),
            id="what is released can be claimed in the same batch",
        ),
        pytest.param(9, [], [CLAIM, RELEASE], ["released"], [], 0, [], id="taken and given back at once"),
        pytest.param(9, [], [RELEASE, CLAIM], ["released"], [], 0, [], id="cancelled before it claims"),
        pytest.param(0, [TAKEN], [CLAIM, OTHER], ["rejected"], [], 0, [1, 2], id="decided before"),
        pytest.param(0, [TAKEN], [RELEASE, RELEASE, CLAIM], [], ["released"], 5, [], id="released once"),
        pytest.param(0, [HELD], [CONFIRM, CONFIRM, HOLD], [], ["reserved"], 0, [1], id="confirmed once"),
        pytest.param(0, [HELD], [RELEASE, CONFIRM], [], ["released"], 5, [], id="released, then confirmed"),
        pytest.param(0, [HELD], [CONFIRM, RELEASE], [], ["released"], 5, [], id="confirmed, then released"),
        pytest.param(9, [], [CONFIRM], [], [], 0, [], id="confirmed, but never claimed"),
        pytest.param(99, [REFUSED], [CLAIM, RELEASE, CLAIM], [], [], 0, [1], id="rejected for ever"),
        pytest.param(99, [RELEASED], [CLAIM, RELEASE], [], [], 0, [], id="released for ever"),
    ],
)
def test_what_a_batch_decides(
    *,
    stock: int,
    known: list[Reservation],
    requests: list[Request],
    made: list[str],
    changed: list[str],
    changes: int,
    answered: list[int],
) -> None:
    settlement = settle(on_hand({7: stock}), {reservation.order_id: reservation for reservation in known}, requests)

    assert [reservation.outcome for reservation in settlement.made] == made
    assert [reservation.outcome for reservation in settlement.changed] == changed
    assert {id_: delta for id_, delta in settlement.stock_changes.items() if delta} == (
        {7: changes} if changes else {}
    )
    assert settlement.holds == ({7: -5} if HELD in known else {})
    assert [claim.order_id for claim, _ in settlement.answers] == answered


def test_an_answer_goes_back_under_the_trace_of_its_own_claim() -> None:
    again, new = Claim(1, FIVE, traceparent="again"), Claim(2, FIVE, traceparent="new")
    settlement = settle(on_hand({7: 5}), {1: TAKEN}, [again, new])
    assert settlement.answers == [(again, TAKEN), (new, Reservation(2, FIVE, "reserved"))]


X, Y = str(UUID(int=1)), str(UUID(int=2))


@pytest.mark.parametrize(
    ("lines", "reason", "shortages"),
    [
        ([(1, 5), (2, 2)], None, []),
        ([(1, 6), (2, 2), (3, 1)], Reason.INSUFFICIENT_STOCK, [(1, 6, 5), (3, 1, 0)]),
        ([(1, 6), (2, 2), (9, 4)], Reason.PRODUCT_NOT_FOUND, [(1, 6, 5), (9, 4, 0)]),
        ([(1, 1, X), (2, 1, None)], None, []),
        ([(1, 1, X), (2, 1, Y)], Reason.PRODUCT_NOT_FOUND, [(2, 1, 0)]),
    ],
    ids=["all fit", "some do not fit", "one is unknown", "known to an older release", "one is lost, its number given"],
)
def test_a_rejected_order_names_each_line_that_failed(
    lines: list[tuple[int, int]], reason: Reason | None, shortages: list[tuple[int, int, int]]
) -> None:
    """A product that is lost is not the one that has its number now, whose stock it must not take."""
    stock = {1: OnHand(5, X), 2: OnHand(2, X), 3: OnHand(0, X)}
    [made] = settle(stock, {}, [Claim(1, tuple(Line(*line) for line in lines))]).made
    assert (made.reason, made.shortages) == (reason, tuple(Shortage(*short) for short in shortages))


@pytest.mark.parametrize(
    ("known", "asked", "is_conflict"),
    [
        pytest.param(X, Claim(1, FIVE, X), False, id="the same order"),
        pytest.param(X, Claim(1, FIVE, Y), True, id="another order of the same"),
        pytest.param(X, Release(1, FIVE, Y), True, id="the cancellation of another order"),
        pytest.param(X, Confirmation(1, FIVE, Y), True, id="the confirmation of another order"),
        pytest.param(X, Claim(1, (Line(7, 6),), X), True, id="another quantity"),
        pytest.param(X, Claim(1, (Line(8, 5),), X), True, id="another product"),
        pytest.param(X, Claim(1, (Line(7, 5), Line(8, 1)), X), True, id="another line"),
        pytest.param(None, Claim(1, FIVE, Y), False, id="decided by an older release"),
        pytest.param(X, Claim(1, FIVE), False, id="placed by an older release"),
        pytest.param(None, Release(1, (Line(8, 5),), Y), True, id="of another product, decided by an older release"),
    ],
)
@pytest.mark.parametrize("outcome", ["reserved", "rejected", "released"])
def test_a_number_that_another_order_has_is_a_conflict_and_changes_nothing(
    *, known: str | None, asked: Request, is_conflict: bool, outcome: Outcome
) -> None:
    reservation = Reservation(1, FIVE, outcome, order_uid=known, held=outcome == "reserved")
    settlement = settle(on_hand({7: 9, 8: 9}), {1: reservation}, [asked, OTHER])
    assert settlement.conflicts == ([0] if is_conflict else [])
    if is_conflict:
        assert settlement.changed == []
        assert [claim for claim, _ in settlement.answers] == [OTHER]
        assert settlement.stock_changes == {7: -5}
    # The conflict is found within a batch too.
    if isinstance(asked, Claim) and outcome == "reserved":
        first = Claim(1, FIVE, known)
        assert settle(on_hand({7: 9}), {}, [first, asked]).conflicts == ([1] if is_conflict else [])


@pytest.mark.parametrize("known", [X, None])
def test_no_event_of_an_archived_order_does_anything(known: str | None) -> None:
    """Of several lines only the first is left; an order that was placed without an identity has one line."""
    lines = (*FIVE, Line(8, 1)) if known else FIVE
    requests: list[Request] = [kind(1, lines, known) for kind in (Claim, Release, Confirmation)]
    requests += [Release(1, lines, known, expired=True), Claim(1, FIVE, Y)]
    settlement = settle(on_hand({7: 9, 8: 9}), {1: Reservation(1, FIVE, "archived", order_uid=known)}, requests)
    assert settlement.conflicts == ([4] if known else [])
    assert [*settlement.made, *settlement.changed, *settlement.movements, *settlement.answers] == []


def test_a_confirmed_order_does_not_expire() -> None:
    """Its database was restored to before the confirmation, of which a client was told."""
    expired = replace(RELEASE, expired=True)
    assert settle(on_hand({7: 0}), {1: TAKEN}, [expired]).conflicts == [0]
    assert settle(on_hand({7: 0}), {1: HELD}, [CONFIRM, expired]).conflicts == [1]
    assert settle(on_hand({7: 0}), {1: HELD}, [expired, CONFIRM, expired]).stock_changes == {7: 5}


@pytest.mark.parametrize("about", [CLAIM, RELEASE, CONFIRM], ids=["claim", "release", "confirmation"])
def test_a_locked_product_holds_up_the_whole_order_that_has_it_in_any_line(
    about: Claim | Release | Confirmation,
) -> None:
    asked = type(about)(1, (Line(7, 1), Line(8, 1)))
    settlement = settle(on_hand({7: 9}), {}, [OTHER, asked], locked={8})
    assert (settlement.blocked, [made.order_id for made in settlement.made]) == ([1], [2])


@pytest.mark.parametrize("about", [CLAIM, RELEASE, CONFIRM], ids=["claim", "release", "confirmation"])
def test_what_a_newer_release_has_decided_is_left_to_it(about: Request) -> None:
    outcome: Any = "shipped"
    settlement = settle(on_hand({7: 9}), {1: Reservation(1, FIVE, outcome)}, [about, OTHER])
    assert (settlement.unknown, settlement.changed, settlement.conflicts) == ([0], [], [])
    assert [claim for claim, _ in settlement.answers] == [OTHER]
