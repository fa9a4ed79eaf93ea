from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orders.domain import HistoryEntry, Order, Verdict, first_verdicts, is_final
from orders.views import entry_view, order_view
from shared.contracts.requests import OrderStatus

AT = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
VERDICTS = st.builds(
    Verdict,
    order_id=st.integers(1, 5),
    order_uid=st.none() | st.sampled_from([str(UUID(int=1)), str(UUID(int=2))]),
    product_id=st.just(3),
    status=st.sampled_from(["done", "rejected"]),
    reason=st.none() | st.just("insufficient_stock"),
    trace_id=st.none(),
)


PLACED = Order(7, 3, 3, Decimal("19.90"), Decimal("59.70"), "pending", None, TRACE_ID, AT, AT, "c", None, None)


def test_a_placed_order_and_its_history_as_the_api_shows_them() -> None:
    entry = HistoryEntry("rejected", "insufficient_stock", TRACE_ID, AT)
    expected = [
        {
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
            "customerId": "c",
            "reference": None,
            "metadata": {},
        },
        {
            "status": "rejected",
            "reason": "insufficient_stock",
            "traceId": TRACE_ID,
            "createdAt": "2024-02-29T12:30:00Z",
        },
    ]
    assert expected == orjson.loads(orjson.dumps([order_view(PLACED), entry_view(entry)], option=orjson.OPT_UTC_Z))


@given(st.lists(VERDICTS, max_size=12))
def test_the_first_verdict_of_each_order_counts(verdicts: list[Verdict]) -> None:
    orders = [(verdict.order_id, verdict.order_uid) for verdict in verdicts]
    expected = [verdicts[orders.index(order)] for order in dict.fromkeys(orders)]
    found = first_verdicts(verdicts)
    assert sorted(expected, key=repr) == sorted(found, key=repr)
    assert [verdict.order_id for verdict in found] == sorted(verdict.order_id for verdict in found)


@pytest.mark.parametrize("status", OrderStatus)
def test_every_status_but_pending_is_final(status: OrderStatus) -> None:
    assert is_final(status) is (status != "pending")


@pytest.mark.parametrize("status", OrderStatus)
def test_an_order_as_it_was_placed_does_not_show_what_came_after(status: OrderStatus) -> None:
    later = replace(PLACED, status=status.value, reason="insufficient_stock", updated_at=AT + timedelta(hours=1))
    assert replace(later, metadata='{"b":"2"}').as_placed('{"a":"1"}') == replace(PLACED, metadata='{"a":"1"}')
