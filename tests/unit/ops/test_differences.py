import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.differences import Kind, Order, Reservation, compare, expected_movements, pairs

T = TypeVar("T")

IDS = st.sets(st.integers(-3, 12))
YOUNG, LIMIT, OLD = 10, 60, 90
FINAL_PAIRS = {
    ("done", "reserved"),
    *((status, o) for status in ("rejected", "cancelled") for o in ("released", "rejected")),
}
X, Y = UUID(int=1), UUID(int=2)


def order(order_id: int = 1, status: str = "done", seconds: float = OLD) -> Order:
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


@pytest.mark.parametrize("outcome", ["reserved", "rejected", "released"])
@pytest.mark.parametrize("status", ["pending", "done", "rejected", "cancelled"])
@pytest.mark.parametrize("seconds", [YOUNG, LIMIT, OLD])
def test_an_order_and_its_reservation_agree_or_differ(status: str, outcome: str, seconds: int) -> None:
    difference = compare(order(status=status, seconds=seconds), reservation(outcome=outcome), LIMIT)

    if (status, outcome) in FINAL_PAIRS or (status in {"pending", "cancelled"} and seconds <= LIMIT):
        assert difference is None
    else:
        assert difference is not None
        assert difference.kind is (Kind.UNFINISHED if status == "pending" else Kind.STATUS)
        assert (difference.order_id, difference.product_id, difference.trace_id) == (1, 7, "trace")
        assert difference.found == f"order {status} for {seconds} s, reservation {outcome}"
        assert difference.expected


@pytest.mark.parametrize(
    ("status", "seconds", "kind"),
    [
        ("pending", LIMIT, None),
        ("pending", OLD, Kind.UNFINISHED),
        ("cancelled", LIMIT, None),
        ("cancelled", OLD, Kind.ORDER_WITHOUT_RESERVATION),
        ("done", YOUNG, Kind.ORDER_WITHOUT_RESERVATION),
        ("rejected", YOUNG, Kind.ORDER_WITHOUT_RESERVATION),
    ],
)
def test_an_order_without_reservation(status: str, seconds: float, kind: Kind | None) -> None:
    difference = compare(order(status=status, seconds=seconds), None, LIMIT)

    assert (difference and (difference.kind, difference.found, difference.trace_id)) == (
        kind and (kind, f"order {status} for {seconds} s, no reservation", "trace")
    )


def test_a_reservation_without_order() -> None:
    difference = compare(None, reservation(), LIMIT)

    harmless = [None, reservation(outcome="rejected"), reservation(outcome="released")]
    assert [compare(None, each, LIMIT) for each in harmless] == [None] * 3
    assert difference is not None
    assert (difference.kind, difference.found) == (Kind.RESERVATION_WITHOUT_ORDER, "reservation reserved, no order")
    assert (difference.expected, difference.order_id, difference.product_id) == ("an order of 2 of product 7", 1, 7)


@pytest.mark.parametrize("other", [Reservation(1, 8, 2, "reserved"), Reservation(1, 7, 3, "reserved")])
@pytest.mark.parametrize(("status", "seconds"), [("pending", 0), ("done", OLD)])
def test_a_reservation_of_something_else(other: Reservation, status: str, seconds: float) -> None:
    difference = compare(order(status=status, seconds=seconds), other, LIMIT)

    assert difference is not None
    assert difference.kind is Kind.PRODUCT_OR_QUANTITY
    found = f"order of 2 of product 7, reservation of {other.quantity} of product {other.product_id}"
    assert difference.found == found


@pytest.mark.parametrize(
    ("uid", "other", "kind"),
    [(X, X, None), (X, None, None), (None, X, None), (None, None, None), (X, Y, Kind.IDENTITY)],
)
def test_a_reservation_of_another_order_that_has_the_same_number(
    uid: UUID | None, other: UUID | None, kind: Kind | None
) -> None:
    same = compare(order()._replace(uid=uid), reservation()._replace(uid=other), LIMIT)
    more = compare(order()._replace(uid=uid), Reservation(1, 7, 3, "reserved", other), LIMIT)

    assert (same and same.kind) == kind
    assert more is not None
    assert more.kind is (kind or Kind.PRODUCT_OR_QUANTITY)
    assert same is None or same.found == f"order done, reservation reserved of another order, {Y}"


def test_the_same_difference_has_the_same_key_although_its_words_change() -> None:
    first, later = (compare(order(seconds=seconds), reservation(outcome="rejected"), LIMIT) for seconds in (10, 20))

    assert first is not None
    assert later is not None
    assert first.key == later.key == (Kind.STATUS, None, 1)
    assert first.found != later.found


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        ("reserved", "one reserve of -2 of product 7"),
        ("released", "one reserve of -2 and one release of 2 of product 7, or none"),
        ("rejected", "none"),
        (None, "a reservation"),
    ],
)
def test_the_movements_that_a_reservation_asks_for(outcome: str | None, expected: str) -> None:
    assert expected == expected_movements(outcome, 2, 7)
