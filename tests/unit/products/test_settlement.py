"""Batches of claims and releases in any order and number, applied one after the other as the service does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from products.settlement import Claim, Release, Reservation, Settlement, settle
from shared.contracts.events import Reason

Request = Claim | Release

STOCK = st.dictionaries(st.integers(1, 3), st.integers(0, 20), max_size=3)
AMPLE = dict.fromkeys(range(1, 5), 1_000)

# More events of order 1.
MORE = st.lists(st.sampled_from([Claim(1, 7, 5), Release(1, 7, 5)]))


@dataclass(slots=True)
class Warehouse:
    """What the database holds."""

    stock: dict[int, int]
    reservations: dict[int, Reservation] = field(default_factory=dict)

    def settle(self, requests: Sequence[Request]) -> Settlement:
        order_ids = {request.order_id for request in requests}
        known = {order_id: self.reservations[order_id] for order_id in order_ids & self.reservations.keys()}
        settlement = settle(self.stock, known, requests)
        for product_id, delta in settlement.changes.items():
            self.stock[product_id] += delta
        for reservation in settlement.made:
            assert reservation.order_id not in self.reservations
            self.reservations[reservation.order_id] = reservation
        for order_id in settlement.ended:
            was = self.reservations[order_id]
            self.reservations[order_id] = Reservation(order_id, was.product_id, was.quantity, "released", was.reason)
        return settlement

    def outcomes(self) -> dict[int, str]:
        return {order_id: reservation.outcome for order_id, reservation in sorted(self.reservations.items())}

    def reserved(self) -> dict[int, int]:
        """Product id to the quantity that orders have."""
        totals = dict.fromkeys(self.stock, 0)
        for reservation in self.reservations.values():
            if reservation.outcome == "reserved":
                totals[reservation.product_id] += reservation.quantity
        return totals


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


def cut(sequence: Sequence[Request], places: Sequence[int]) -> list[Sequence[Request]]:
    edges = [0, *sorted(places), len(sequence)]
    return [sequence[start:end] for start, end in pairwise(edges)]


@given(STOCK, requests())
def test_no_product_is_ever_oversold(stock: dict[int, int], wanted: list[Request]) -> None:
    left = dict(stock)
    for move in settle(stock, {}, wanted).movements:
        left[move.product_id] += move.delta
        assert left[move.product_id] >= 0


@given(STOCK, requests())
def test_what_is_not_left_is_reserved(stock: dict[int, int], wanted: list[Request]) -> None:
    warehouse = Warehouse(dict(stock))
    warehouse.settle(wanted)
    assert stock == {product_id: warehouse.stock[product_id] + n for product_id, n in warehouse.reserved().items()}


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
    made = settle(stock, {}, wanted).made
    assert expected == [(reservation.order_id, reservation.outcome, reservation.reason) for reservation in made]


@given(STOCK, requests(), st.lists(st.integers(0, 24), max_size=4))
def test_many_batches_decide_as_one_does(stock: dict[int, int], wanted: list[Request], places: list[int]) -> None:
    one, many = Warehouse(dict(stock)), Warehouse(dict(stock))
    whole = one.settle(wanted)
    parts = [many.settle(batch) for batch in cut(wanted, places)]
    assert whole.movements == [move for part in parts for move in part.movements]
    assert one == many


@given(STOCK, requests(), requests())
def test_every_order_that_claims_is_answered_once_unless_it_was_cancelled(
    stock: dict[int, int], before: list[Request], wanted: list[Request]
) -> None:
    warehouse = Warehouse(dict(stock))
    warehouse.settle(before)
    settlement = warehouse.settle(wanted)
    claimed = dict.fromkeys(request.order_id for request in wanted if isinstance(request, Claim))
    expected = [
        warehouse.reservations[order_id]
        for order_id in claimed
        if warehouse.reservations[order_id].outcome != "released"
    ]
    assert expected == [reservation for reservation, _ in settlement.answers]


@given(STOCK, requests(), st.lists(st.integers(0, 24), max_size=4))
def test_an_order_takes_once_and_gives_back_once(
    stock: dict[int, int], wanted: list[Request], places: list[int]
) -> None:
    warehouse = Warehouse(dict(stock))
    moves = [move for batch in cut(wanted, places) for move in warehouse.settle(batch).movements]
    for order_id, reservation in warehouse.reservations.items():
        quantity = reservation.quantity
        found = [(move.kind, move.delta) for move in moves if move.order_id == order_id]
        assert found in ([], [("reserve", -quantity)], [("reserve", -quantity), ("release", quantity)])
        assert (len(found) == 1) == (reservation.outcome == "reserved")


@given(orders(), st.data())
def test_cancelled_orders_end_alike_whatever_arrives_first_and_however_often(
    placed: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    cancelled = data.draw(st.sets(st.sampled_from([order_id for order_id, *_ in placed])))
    events: list[Request] = [Claim(*order) for order in placed]
    events += [Release(*order) for order in placed if order[0] in cancelled]
    again = data.draw(st.lists(st.sampled_from(events)))
    arriving = data.draw(st.permutations(events + again))
    warehouse = Warehouse(dict(AMPLE))
    for batch in cut(arriving, data.draw(st.lists(st.integers(0, len(arriving)), max_size=3))):
        warehouse.settle(batch)
    taken = {
        product_id: sum(n for order_id, product, n in placed if product == product_id and order_id not in cancelled)
        for product_id in AMPLE
    }
    expected = {order_id: "released" if order_id in cancelled else "reserved" for order_id, *_ in placed}
    assert warehouse.outcomes() == expected
    assert warehouse.stock == {product_id: AMPLE[product_id] - quantity for product_id, quantity in taken.items()}


@given(st.integers(0, 10), MORE)
def test_a_cancelled_order_has_no_stock_whatever_arrives_first(stock: int, more: list[Request]) -> None:
    either: list[Request] = [Claim(1, 7, 5), Release(1, 7, 5)]
    for arriving in (either, either[::-1]):
        warehouse = Warehouse({7: stock})
        warehouse.settle([*arriving, *more])
        assert warehouse.stock == {7: stock}


@given(MORE)
def test_a_rejected_order_stays_rejected(more: list[Request]) -> None:
    warehouse = Warehouse({7: 4})
    warehouse.settle([Claim(1, 7, 5)])
    warehouse.stock[7] = 100
    settlement = warehouse.settle(more)
    assert warehouse.reservations == {1: Reservation(1, 7, 5, "rejected", Reason.INSUFFICIENT_STOCK)}
    assert (settlement.made, settlement.ended, settlement.movements) == ([], [], [])


@given(MORE)
def test_an_order_cancelled_before_it_claims_gets_nothing_and_no_answer(more: list[Request]) -> None:
    warehouse = Warehouse({7: 100})
    first = warehouse.settle([Release(1, 7, 5)])
    later = warehouse.settle(more)
    assert first.made == [Reservation(1, 7, 5, "released")]
    assert (later.made, later.ended, first.movements + later.movements, first.answers + later.answers) == (
        [],
        [],
        [],
        [],
    )


@given(STOCK, requests(), requests())
def test_deciding_changes_nothing(stock: dict[int, int], before: list[Request], wanted: list[Request]) -> None:
    warehouse = Warehouse(stock)
    warehouse.settle(before)
    known: Mapping[int, Reservation] = dict(warehouse.reservations)
    copies = dict(stock), dict(known), list(wanted)
    settle(stock, known, wanted)
    assert copies == (stock, known, wanted)


def test_of_two_orders_for_the_last_piece_the_first_gets_it() -> None:
    settlement = settle({7: 1}, {}, [Claim(1, 7, 1), Claim(2, 7, 1)])
    expected = [Reservation(1, 7, 1, "reserved"), Reservation(2, 7, 1, "rejected", Reason.INSUFFICIENT_STOCK)]
    assert expected == settlement.made


def test_a_claim_that_does_not_fit_leaves_the_rest_to_later_ones() -> None:
    settlement = settle({7: 5}, {}, [Claim(1, 7, 6), Claim(2, 7, 5)])
    assert [reservation.outcome for reservation in settlement.made] == ["rejected", "reserved"]


def test_what_is_released_can_be_claimed_in_the_same_batch() -> None:
    settlement = settle({7: 5}, {}, [Claim(1, 7, 5), Claim(2, 7, 5), Release(1, 7, 5), Claim(3, 7, 5)])
    assert [reservation.outcome for reservation in settlement.made] == ["released", "rejected", "reserved"]
    assert settlement.changes == {7: -5}


def test_an_answer_goes_back_under_the_trace_of_its_own_claim() -> None:
    before = Reservation(1, 7, 5, "reserved")
    settlement = settle({7: 5}, {1: before}, [Claim(1, 7, 5, "again"), Claim(2, 7, 5, "new")])
    assert settlement.answers == [(before, "again"), (Reservation(2, 7, 5, "reserved"), "new")]
