from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from products.domain import Claim, Outcome, allocate, taken
from shared.contracts.events import Reason

STOCK = st.dictionaries(st.integers(1, 3), st.integers(0, 20), max_size=3)


@st.composite
def claims(draw: st.DrawFn) -> list[Claim]:
    """One for each order; products 1 to 4, so that some do not exist."""
    wanted = draw(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 12)), max_size=15))
    order_ids = draw(st.permutations(range(1, len(wanted) + 1)))
    return [Claim(order_id, *want) for order_id, want in zip(order_ids, wanted, strict=True)]


def reserved(outcomes: Iterable[Outcome], product_id: int) -> int:
    return sum(
        outcome.claim.quantity
        for outcome in outcomes
        if outcome.answer == "reserved" and outcome.claim.product_id == product_id
    )


@given(STOCK, claims())
def test_no_product_is_oversold(stock: dict[int, int], wanted: list[Claim]) -> None:
    outcomes = allocate(stock, wanted)
    assert all(reserved(outcomes, product_id) <= stock.get(product_id, 0) for product_id in range(1, 5))


@given(STOCK, claims())
def test_every_claim_is_answered_once_and_in_order(stock: dict[int, int], wanted: list[Claim]) -> None:
    assert wanted == [outcome.claim for outcome in allocate(stock, wanted)]


@given(STOCK, claims())
def test_a_claim_gets_nothing_only_if_it_did_not_fit(stock: dict[int, int], wanted: list[Claim]) -> None:
    outcomes = allocate(stock, wanted)
    for position, outcome in enumerate(outcomes):
        claim = outcome.claim
        left = stock.get(claim.product_id, 0) - reserved(outcomes[:position], claim.product_id)
        if claim.product_id not in stock:
            expected = Outcome(claim, "rejected", Reason.PRODUCT_NOT_FOUND)
        elif claim.quantity > left:
            expected = Outcome(claim, "rejected", Reason.INSUFFICIENT_STOCK)
        else:
            expected = Outcome(claim, "reserved")
        assert expected == outcome


@given(STOCK, claims(), st.integers(0, 15))
def test_two_batches_decide_as_one_does(stock: dict[int, int], wanted: list[Claim], cut: int) -> None:
    first = allocate(stock, wanted[:cut])
    left = {product_id: quantity - taken(first).get(product_id, 0) for product_id, quantity in stock.items()}
    assert allocate(stock, wanted) == [*first, *allocate(left, wanted[cut:])]


@given(STOCK, claims())
def test_deciding_changes_nothing(stock: dict[int, int], wanted: list[Claim]) -> None:
    before = dict(stock)
    allocate(stock, wanted)
    assert before == stock


@given(STOCK, claims())
def test_what_is_taken_is_what_was_reserved(stock: dict[int, int], wanted: list[Claim]) -> None:
    outcomes = allocate(stock, wanted)
    expected = {product_id: reserved(outcomes, product_id) for product_id in stock if reserved(outcomes, product_id)}
    assert expected == taken(outcomes)


def test_of_two_orders_for_the_last_piece_the_first_gets_it() -> None:
    first, second = Claim(1, 7, 1), Claim(2, 7, 1)
    expected = [Outcome(first, "reserved"), Outcome(second, "rejected", Reason.INSUFFICIENT_STOCK)]
    assert expected == allocate({7: 1}, [first, second])


def test_a_claim_that_does_not_fit_leaves_the_rest_to_later_ones() -> None:
    answers = [outcome.answer for outcome in allocate({7: 5}, [Claim(1, 7, 6), Claim(2, 7, 5)])]
    assert answers == ["rejected", "reserved"]
