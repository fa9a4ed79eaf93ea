"""Batches of claims and releases in any order and number, applied one after the other as the service does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from products.settlement import Claim, OnHand, Outcome, Release, Reservation, Settlement, settle
from shared.contracts.events import Reason

Request = Claim | Release

STOCK = st.dictionaries(st.integers(1, 3), st.integers(0, 20), max_size=3)
PLACES = st.lists(st.integers(0, 24), max_size=4)


@dataclass(slots=True)
class Warehouse:
    """The stock and the reservations that the database holds."""

    stock: dict[int, int]
    reservations: dict[int, Reservation] = field(default_factory=dict)

    def settle(self, requests: Sequence[Request]) -> Settlement:
        order_ids = {request.order_id for request in requests}
        known = {order_id: self.reservations[order_id] for order_id in order_ids & self.reservations.keys()}
        given = dict(self.stock), dict(known), list(requests)
        settlement = settle(on_hand(self.stock), known, requests)
        assert given == (self.stock, known, list(requests))
        for product_id, delta in settlement.changes.items():
            self.stock[product_id] += delta
        for reservation in settlement.made:
            assert reservation.order_id not in self.reservations
            self.reservations[reservation.order_id] = reservation
        for order_id in settlement.ended:
            was = self.reservations[order_id]
            self.reservations[order_id] = Reservation(order_id, was.product_id, was.quantity, "released", was.reason)
        return settlement


@st.composite
def orders(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    """Order, product and quantity; products 1 to 4, so that some do not exist."""
    wanted = draw(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 12)), min_size=1, max_size=8))
    return [(order_id, *want) for order_id, want in enumerate(wanted, 1)]


@st.composite
def requests(draw: st.DrawFn) -> list[Request]:
    """Claims and releases of a few orders, in any order and number."""
    each: list[Request] = []
    for order in draw(orders()):
        each += [Claim(*order), Release(*order)]
    return draw(st.lists(st.sampled_from(each), max_size=24))


@st.composite
def claims(draw: st.DrawFn) -> list[Claim]:
    """One for each order."""
    return draw(st.permutations([Claim(*order) for order in draw(orders())]))


def on_hand(stock: Mapping[int, int]) -> dict[int, OnHand]:
    return {product_id: OnHand(quantity) for product_id, quantity in stock.items()}


def cut(sequence: Sequence[Request], places: Sequence[int]) -> list[Sequence[Request]]:
    edges = [0, *sorted(places), len(sequence)]
    return [sequence[start:end] for start, end in pairwise(edges)]


@given(STOCK, requests(), PLACES)
def test_stock_adds_up_and_each_order_takes_once_and_gives_back_once(
    stock: dict[int, int], wanted: list[Request], places: list[int]
) -> None:
    warehouse = Warehouse(dict(stock))
    moves = [move for batch in cut(wanted, places) for move in warehouse.settle(batch).movements]
    left = dict(stock)
    for move in moves:
        left[move.product_id] += move.delta
        assert left[move.product_id] >= 0
    assert left == warehouse.stock
    for order_id, (outcome, quantity) in {
        reservation.order_id: (reservation.outcome, reservation.quantity)
        for reservation in warehouse.reservations.values()
    }.items():
        found = [(move.kind, move.delta) for move in moves if move.order_id == order_id]
        assert found in ([], [("reserve", -quantity)], [("reserve", -quantity), ("release", quantity)])
        assert (len(found) == 1) == (outcome == "reserved")


@given(STOCK, claims())
def test_a_claim_gets_nothing_only_if_it_did_not_fit(stock: dict[int, int], wanted: list[Claim]) -> None:
    left = dict(stock)
    expected: list[tuple[int, str, Reason | None]] = []
    for claim in wanted:
        if claim.product_id not in left:
            expected.append((claim.order_id, "rejected", Reason.PRODUCT_NOT_FOUND))
        elif claim.quantity > left[claim.product_id]:
            expected.append((claim.order_id, "rejected", Reason.INSUFFICIENT_STOCK))
        else:
            left[claim.product_id] -= claim.quantity
            expected.append((claim.order_id, "reserved", None))
    made = settle(on_hand(stock), {}, wanted).made
    assert expected == [(reservation.order_id, reservation.outcome, reservation.reason) for reservation in made]


@given(STOCK, requests(), PLACES)
def test_many_batches_decide_as_one_does(stock: dict[int, int], wanted: list[Request], places: list[int]) -> None:
    one, many = Warehouse(dict(stock)), Warehouse(dict(stock))
    whole = one.settle(wanted)
    parts = [many.settle(batch) for batch in cut(wanted, places)]
    assert whole.movements == [move for part in parts for move in part.movements]
    assert one == many


@given(STOCK, requests(), st.integers(0, 24))
def test_every_order_that_claims_is_answered_once_unless_it_was_cancelled(
    stock: dict[int, int], all_of_them: list[Request], before: int
) -> None:
    warehouse = Warehouse(dict(stock))
    warehouse.settle(all_of_them[:before])
    wanted = all_of_them[before:]
    settlement = warehouse.settle(wanted)
    claimed = dict.fromkeys(request.order_id for request in wanted if isinstance(request, Claim))
    expected = [
        warehouse.reservations[order_id]
        for order_id in claimed
        if warehouse.reservations[order_id].outcome != "released"
    ]
    assert expected == [reservation for _, reservation in settlement.answers]


@given(orders(), st.data())
def test_cancelled_orders_end_alike_whatever_is_first(placed: list[tuple[int, int, int]], data: st.DataObject) -> None:
    cancelled = data.draw(st.sets(st.sampled_from([order_id for order_id, *_ in placed])))
    events: list[Request] = [Claim(*order) for order in placed]
    events += [Release(*order) for order in placed if order[0] in cancelled]
    again = data.draw(st.lists(st.sampled_from(events)))
    arriving = data.draw(st.permutations(events + again))
    warehouse = Warehouse(dict.fromkeys(range(1, 5), 1_000))
    for batch in cut(arriving, data.draw(st.lists(st.integers(0, len(arriving)), max_size=3))):
        warehouse.settle(batch)
    expected = {order_id: "released" if order_id in cancelled else "reserved" for order_id, *_ in placed}
    found = {order_id: reservation.outcome for order_id, reservation in sorted(warehouse.reservations.items())}
    assert found == expected
    for product_id, left in warehouse.stock.items():
        assert 1_000 - left == sum(n for order, of, n in placed if of == product_id and order not in cancelled)


TAKEN = Reservation(1, 7, 5, "reserved")
REFUSED = Reservation(1, 7, 5, "rejected", Reason.INSUFFICIENT_STOCK)
RELEASED = Reservation(1, 7, 5, "released")
CLAIM, RELEASE, OTHER = Claim(1, 7, 5), Release(1, 7, 5), Claim(2, 7, 5)


@pytest.mark.parametrize(
    ("stock", "known", "requests", "made", "ended", "changes", "answered"),
    [
        pytest.param(5, [], [CLAIM, OTHER], ["reserved", "rejected"], [], -5, [1, 2], id="the first gets the last"),
        pytest.param(5, [], [Claim(1, 7, 6), OTHER], ["rejected", "reserved"], [], -5, [1, 2], id="the next may fit"),
        pytest.param(
            *(5, [], [CLAIM, OTHER, RELEASE, Claim(3, 7, 5)], ["released", "rejected", "reserved"], [], -5, [2, 3]),
            id="what is released can be claimed in the same batch",
        ),
        pytest.param(9, [], [CLAIM, RELEASE], ["released"], [], 0, [], id="taken and given back at once"),
        pytest.param(9, [], [RELEASE, CLAIM], ["released"], [], 0, [], id="cancelled before it claims"),
        pytest.param(0, [TAKEN], [CLAIM, OTHER], ["rejected"], [], 0, [1, 2], id="decided before"),
        pytest.param(0, [TAKEN], [RELEASE, RELEASE, CLAIM], [], [1], 5, [], id="released once"),
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
    ended: list[int],
    changes: int,
    answered: list[int],
) -> None:
    settlement = settle(on_hand({7: stock}), {reservation.order_id: reservation for reservation in known}, requests)

    assert [reservation.outcome for reservation in settlement.made] == made
    assert settlement.ended == ended
    assert settlement.changes == ({7: changes} if changes else {})
    assert [claim.order_id for claim, _ in settlement.answers] == answered


def test_an_answer_goes_back_under_the_trace_of_its_own_claim() -> None:
    again, new = Claim(1, 7, 5, "again"), Claim(2, 7, 5, "new")
    settlement = settle(on_hand({7: 5}), {1: TAKEN}, [again, new])
    assert settlement.answers == [(again, TAKEN), (new, Reservation(2, 7, 5, "reserved"))]


X, Y = str(UUID(int=1)), str(UUID(int=2))


@pytest.mark.parametrize(
    ("known", "asked", "is_conflict"),
    [
        pytest.param(X, Claim(1, 7, 5, order_uid=X), False, id="the same order"),
        pytest.param(X, Claim(1, 7, 5, order_uid=Y), True, id="another order of the same"),
        pytest.param(X, Release(1, 7, 5, order_uid=Y), True, id="the cancellation of another order"),
        pytest.param(X, Claim(1, 7, 6, order_uid=X), True, id="another quantity"),
        pytest.param(X, Claim(1, 8, 5, order_uid=X), True, id="another product"),
        pytest.param(None, Claim(1, 7, 5, order_uid=Y), False, id="decided by an older release"),
        pytest.param(X, Claim(1, 7, 5), False, id="placed by an older release"),
        pytest.param(None, Release(1, 8, 5, order_uid=Y), True, id="of another product, decided by an older release"),
    ],
)
@pytest.mark.parametrize("outcome", ["reserved", "rejected", "released"])
def test_a_number_that_another_order_has_is_a_conflict_and_changes_nothing(
    *, known: str | None, asked: Request, is_conflict: bool, outcome: Outcome
) -> None:
    reservation = Reservation(1, 7, 5, outcome, order_uid=known)
    settlement = settle(on_hand({7: 9, 8: 9}), {1: reservation}, [asked, OTHER])
    assert settlement.conflicts == ([0] if is_conflict else [])
    if is_conflict:
        assert settlement.ended == []
        assert [claim for claim, _ in settlement.answers] == [OTHER]
        assert settlement.changes == {7: -5}
    # The conflict is found within a batch too.
    if isinstance(asked, Claim) and outcome == "reserved":
        first = Claim(1, 7, 5, order_uid=known)
        assert settle(on_hand({7: 9}), {}, [first, asked]).conflicts == ([1] if is_conflict else [])


@pytest.mark.parametrize(
    ("ordered", "reason"),
    [(X, None), (None, None), (Y, Reason.PRODUCT_NOT_FOUND)],
    ids=["the product", "known to an older release", "one that is lost and had this number"],
)
def test_an_order_of_a_product_that_is_lost_takes_no_stock_of_its_successor(
    ordered: str | None, reason: Reason | None
) -> None:
    settlement = settle({7: OnHand(9, X)}, {}, [Claim(1, 7, 5, product_uid=ordered)])
    assert [reservation.reason for reservation in settlement.made] == [reason]
