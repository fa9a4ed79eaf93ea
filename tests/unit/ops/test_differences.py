import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.differences import Kind, Order, Reservation, compare, expected_movements, pairs

T = TypeVar("T")

IDS = st.sets(st.integers(-3, 12))
STATUSES = st.sampled_from(["pending", "done", "rejected", "cancelled"])
OUTCOMES = st.sampled_from(["reserved", "rejected", "released"])
ORDERS = st.builds(Order, st.just(1), st.integers(1, 2), st.integers(1, 2), STATUSES, st.just("t"), st.floats(0, 120))
RESERVATIONS = st.builds(Reservation, st.just(1), st.integers(1, 2), st.integers(1, 2), OUTCOMES)

FINAL_PAIRS = {
    ("done", "reserved"),
    ("rejected", "rejected"),
    ("cancelled", "released"),
    ("cancelled", "rejected"),
}


def order(order_id: int = 1, status: str = "done", seconds: float = 90.0) -> Order:
    return Order(order_id, 7, 2, status, "trace", seconds)


def reservation(order_id: int = 1, outcome: str = "reserved") -> Reservation:
    return Reservation(order_id, 7, 2, outcome)


async def stream(items: Iterable[T]) -> AsyncIterator[T]:
    for item in items:
        yield item


async def joined(orders: Iterable[int], reservations: Iterable[int]) -> list[tuple[int | None, int | None]]:
    found = pairs(stream(map(order, sorted(orders))), stream(map(reservation, sorted(reservations))))
    return [(left and left.id, right and right.order_id) async for left, right in found]


@given(IDS, IDS)
def test_every_id_comes_once_in_order_with_both_of_its_sides(orders: set[int], reservations: set[int]) -> None:
    expected = [
        (number if number in orders else None, number if number in reservations else None)
        for number in sorted(orders | reservations)
    ]
    assert asyncio.run(joined(orders, reservations)) == expected


@given(STATUSES, OUTCOMES, st.floats(0, 59))
def test_what_is_young_differs_only_if_it_can_never_agree(status: str, outcome: str, seconds: float) -> None:
    difference = compare(order(status=status, seconds=seconds), reservation(outcome=outcome), 60)

    in_flight = status in {"pending", "cancelled"}
    assert (difference is None) == (in_flight or (status, outcome) in FINAL_PAIRS)


@given(STATUSES, OUTCOMES, st.floats(61, 1e9))
def test_what_is_old_agrees_or_is_named(status: str, outcome: str, seconds: float) -> None:
    difference = compare(order(status=status, seconds=seconds), reservation(outcome=outcome), 60)

    otherwise = None if (status, outcome) in FINAL_PAIRS else Kind.STATUS
    assert (difference and difference.kind) == (Kind.UNFINISHED if status == "pending" else otherwise)


@given(st.none() | ORDERS, st.none() | RESERVATIONS)
def test_a_difference_names_its_order_and_says_what_was_expected(
    left: Order | None, right: Reservation | None
) -> None:
    difference = compare(left, right, 60)

    if difference is not None:
        assert difference.order_id == 1
        assert difference.found
        assert difference.expected
        assert difference.trace_id == (left and left.trace_id)
    elif left is not None and right is not None:
        assert left.claim == right.claim


@pytest.mark.parametrize(
    ("status", "seconds", "kind"),
    [
        ("pending", 10, None),
        ("pending", 90, Kind.UNFINISHED),
        ("cancelled", 10, None),
        ("cancelled", 90, Kind.ORDER_WITHOUT_RESERVATION),
        ("done", 10, Kind.ORDER_WITHOUT_RESERVATION),
        ("rejected", 10, Kind.ORDER_WITHOUT_RESERVATION),
    ],
)
def test_an_order_without_reservation(status: str, seconds: float, kind: Kind | None) -> None:
    difference = compare(order(status=status, seconds=seconds), None, 60)

    assert (difference and difference.kind) == kind


@pytest.mark.parametrize("other", [Reservation(1, 8, 2, "reserved"), Reservation(1, 7, 3, "reserved")])
def test_a_reservation_of_something_else(other: Reservation) -> None:
    difference = compare(order(status="pending", seconds=0), other, 60)

    assert difference is not None
    assert difference.kind is Kind.PRODUCT_OR_QUANTITY


def test_the_same_difference_has_the_same_key_although_its_words_change() -> None:
    first, later = (compare(order(seconds=seconds), reservation(outcome="rejected"), 60) for seconds in (10, 20))

    assert first is not None
    assert later is not None
    assert first.key == later.key
    assert first.found != later.found


def test_the_movements_that_a_reservation_asks_for() -> None:
    assert expected_movements("reserved", 2, 7) == "one reserve of -2 of product 7"
    assert expected_movements("rejected", 2, 7) == "none"
    assert expected_movements(None, None, 7) == "a reservation"
