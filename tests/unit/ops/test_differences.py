import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.differences import Kind, Line, Order, Reservation, compare, expected_movements, pairs

T = TypeVar("T")

IDS = st.sets(st.integers(-3, 12))
YOUNG, LIMIT, OLD = 10, 60, 90
FINAL_PAIRS = {
    ("held", "held"),
    ("done", "reserved"),
    *((status, o) for status in ("rejected", "cancelled", "expired") for o in ("released", "rejected")),
}
ONE, SEVERAL = (Line(7, 2),), (Line(7, 2), Line(9, 3))
X, Y = UUID(int=1), UUID(int=2)


def order(order_id: int = 1, status: str = "done", seconds: float = OLD) -> Order:
    return Order(order_id, ONE, status, "trace", seconds)


def reservation(order_id: int = 1, outcome: str = "reserved") -> Reservation:
    return Reservation(order_id, ONE, outcome)


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


@pytest.mark.parametrize("outcome", ["reserved", "held", "rejected", "released"])
@pytest.mark.parametrize("status", ["pending", "held", "done", "rejected", "cancelled", "expired"])
@pytest.mark.parametrize("seconds", [YOUNG, LIMIT, OLD])
def test_an_order_and_its_reservation_agree_or_differ(status: str, outcome: str, seconds: int) -> None:
    difference = compare(order(status=status, seconds=seconds), reservation(outcome=outcome), LIMIT)

    on_its_way = status in {"pending", "cancelled", "expired"} or (status, outcome) == ("done", "held")
    if (status, outcome) in FINAL_PAIRS or (on_its_way and seconds <= LIMIT):
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
        ("expired", LIMIT, None),
        ("expired", OLD, Kind.ORDER_WITHOUT_RESERVATION),
        ("held", YOUNG, Kind.ORDER_WITHOUT_RESERVATION),
        ("done", YOUNG, Kind.ORDER_WITHOUT_RESERVATION),
        ("rejected", YOUNG, Kind.ORDER_WITHOUT_RESERVATION),
    ],
)
def test_an_order_without_reservation(status: str, seconds: float, kind: Kind | None) -> None:
    difference = compare(order(status=status, seconds=seconds), None, LIMIT)

    assert (difference and (difference.kind, difference.found, difference.trace_id)) == (
        kind and (kind, f"order {status} for {seconds} s, no reservation", "trace")
    )


@pytest.mark.parametrize("outcome", ["reserved", "held"])
def test_a_reservation_without_order(outcome: str) -> None:
    difference = compare(None, reservation(outcome=outcome), LIMIT)

    harmless = [None, reservation(outcome="rejected"), reservation(outcome="released")]
    assert [compare(None, each, LIMIT) for each in harmless] == [None] * 3
    assert difference is not None
    assert difference.kind is Kind.RESERVATION_WITHOUT_ORDER
    assert difference.found == f"reservation {outcome}, no order"
    assert (difference.expected, difference.order_id, difference.product_id) == ("an order of 2 of product 7", 1, 7)


@pytest.mark.parametrize(
    ("status", "outcome", "other", "kind"),
    [
        *(("archived", outcome, X, None) for outcome in ("archived", "reserved", "released", "rejected")),
        ("archived", "held", X, Kind.STATUS),
        ("archived", "archived", None, None),
        ("archived", "archived", Y, Kind.IDENTITY),
        ("done", "archived", X, Kind.STATUS),
        ("done", "archived", Y, Kind.IDENTITY),
    ],
)
def test_of_an_archived_order_the_identity_is_left_to_compare(
    status: str, outcome: str, other: UUID | None, kind: Kind | None
) -> None:
    """Either of the two may be archived when the other is not yet, or is not any more because it was restored."""
    lines = () if status == "archived" else SEVERAL
    difference = compare(Order(1, lines, status, "", 0, X), Reservation(1, ONE, outcome, other), LIMIT)
    assert (difference and (difference.kind, difference.trace_id)) == (kind and (kind, None))


@pytest.mark.parametrize("other", [(Line(8, 2),), (Line(7, 3),), (), SEVERAL, SEVERAL[::-1]])
@pytest.mark.parametrize(("status", "seconds"), [("pending", 0), ("done", OLD)])
def test_a_reservation_of_something_else(other: tuple[Line, ...], status: str, seconds: float) -> None:
    difference = compare(order(status=status, seconds=seconds), reservation()._replace(lines=other), LIMIT)

    assert difference is not None
    assert difference.kind is Kind.PRODUCT_OR_QUANTITY
    pieces = ", ".join(f"{line.quantity} of product {line.product_id}" for line in other)
    assert difference.found == f"order of 2 of product 7, reservation of {pieces}"


def test_the_lines_of_an_order_and_of_its_reservation_are_of_the_same_products_and_quantities() -> None:
    named = order()._replace(lines=tuple(line._replace(product_uid=X) for line in SEVERAL))

    assert compare(named, reservation()._replace(lines=SEVERAL), LIMIT) is None
    difference = compare(named, reservation(outcome="held")._replace(lines=SEVERAL), LIMIT)
    assert difference is not None
    assert (difference.kind, difference.product_id) == (Kind.STATUS, None)


@pytest.mark.parametrize(
    ("uid", "other", "kind"),
    [(X, X, None), (X, None, None), (None, X, None), (None, None, None), (X, Y, Kind.IDENTITY)],
)
def test_a_reservation_of_another_order_that_has_the_same_number(
    uid: UUID | None, other: UUID | None, kind: Kind | None
) -> None:
    same = compare(order()._replace(uid=uid), reservation()._replace(uid=other), LIMIT)
    more = compare(order()._replace(uid=uid), Reservation(1, SEVERAL, "reserved", other), LIMIT)

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
        ("reserved", "one reserve of 2 of product 7, 3 of product 9"),
        ("released", "one reserve and one release of 2 of product 7, 3 of product 9, or none"),
        ("rejected", "none"),
        ("archived", "none"),
        (None, "a reservation"),
    ],
)
def test_the_movements_that_a_reservation_asks_for(outcome: str | None, expected: str) -> None:
    assert expected == expected_movements(outcome, SEVERAL)
