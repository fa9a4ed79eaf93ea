from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orders.domain import Draft, HistoryEntry, Verdict, first_verdicts, is_final
from orders.views import entry_view, order_view
from shared.contracts.requests import OrderStatus

AT = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
VERDICTS = st.builds(
    Verdict,
    order_id=st.integers(1, 5),
    product_id=st.just(3),
    status=st.sampled_from(["done", "rejected"]),
    reason=st.none() | st.just("insufficient_stock"),
    trace_id=st.none(),
)


def draft(quantity: int, unit_price: Decimal) -> Draft:
    return Draft(3, quantity, unit_price, TRACE_ID, f"00-{TRACE_ID}-00f067aa0ba902b7-01")


def test_a_placed_order_as_the_api_shows_it() -> None:
    order = draft(3, Decimal("19.90")).placed(7, AT)
    expected = {
        "id": 7,
        "productId": 3,
        "quantity": 3,
        "unitPrice": "19.90",
        "totalPrice": "59.70",
        "status": "pending",
        "reason": None,
        "traceId": TRACE_ID,
        "createdAt": "2024-02-29T12:30:00Z",
        "updatedAt": "2024-02-29T12:30:00Z",
    }
    assert expected == orjson.loads(orjson.dumps(order_view(order), option=orjson.OPT_UTC_Z))


@given(st.integers(1, 1_000_000), st.integers(0, 999_999_999_999))
def test_the_total_is_exact_to_the_cent(quantity: int, cents: int) -> None:
    order = draft(quantity, Decimal(cents).scaleb(-2)).placed(7, AT)
    assert str(quantity * cents) == order_view(order)["totalPrice"].replace(".", "").lstrip("0").rjust(1, "0")


@given(st.lists(VERDICTS, max_size=12))
def test_the_first_verdict_of_each_order_counts(verdicts: list[Verdict]) -> None:
    order_ids = [verdict.order_id for verdict in verdicts]
    expected = [verdicts[order_ids.index(order_id)] for order_id in sorted(set(order_ids))]
    assert expected == first_verdicts(verdicts)


FINAL = {"pending": False, "done": True, "rejected": True, "cancelled": True}


def test_every_status_is_final_but_the_first() -> None:
    order = draft(3, Decimal(1)).placed(7, AT)
    assert {status.value: replace(order, status=status.value).is_final for status in OrderStatus} == FINAL


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["pending"], False),
        (["pending", "done"], True),
        (["pending", "rejected"], True),
        (["pending", "cancelled"], True),
        (["pending", "done", "cancelled"], True),
    ],
)
def test_a_history_is_final_by_its_last_entry(statuses: list[str], expected: bool) -> None:
    assert is_final([HistoryEntry(status, None, TRACE_ID, AT) for status in statuses]) == expected


@pytest.mark.parametrize("status", OrderStatus)
def test_an_order_as_it_was_placed_tells_nothing_of_what_came_after(status: OrderStatus) -> None:
    order = draft(3, Decimal("19.90")).placed(7, AT)
    later = replace(order, status=status.value, reason="insufficient_stock", updated_at=AT + timedelta(hours=1))
    assert later.as_placed() == order


def test_an_entry_of_a_history_as_the_api_shows_it() -> None:
    entry = HistoryEntry("rejected", "insufficient_stock", TRACE_ID, AT)
    expected = {"status": "rejected", "reason": "insufficient_stock", "traceId": TRACE_ID, "createdAt": AT}
    assert expected == entry_view(entry)
