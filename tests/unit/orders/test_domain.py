from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orders.domain import HistoryEntry, Order, Terms, Verdict, first_verdicts, is_final
from orders.views import entry_view, is_order_view, order_view
from shared.contracts.requests import OrderStatus

AT = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
VERDICTS = st.builds(
    Verdict,
    order_id=st.integers(1, 5),
    order_uid=st.none() | st.sampled_from([str(UUID(int=1)), str(UUID(int=2))]),
    product_id=st.just(3),
    product_ids=st.just([3]),
    status=st.sampled_from(["done", "rejected"]),
    reason=st.none() | st.just("insufficient_stock"),
    shortages=st.none(),
    trace_id=st.none(),
)


def order(product_id: int | None, quantity: int | None, price: Decimal | None, lines: str | None) -> Order:
    of_client = "c", None, None
    return Order(
        7,
        product_id,
        quantity,
        price,
        Decimal("59.70"),
        "pending",
        None,
        TRACE_ID,
        AT,
        AT,
        *of_client,
        lines,
        None,
        None,
    )


PLACED = order(3, 3, Decimal("19.90"), None)


AS_SHOWN: dict[str, Any] = {
    "id": 7,
    "lines": [{"productId": 3, "quantity": 3, "unitPrice": "19.90", "totalPrice": "59.70"}],
    "productId": 3,
    "quantity": 3,
    "unitPrice": "19.90",
    "totalPrice": "59.70",
    "status": "pending",
    "reason": None,
    "shortages": [],
    "expiresAt": None,
    "traceId": TRACE_ID,
    "createdAt": "2024-02-29T12:30:00Z",
    "updatedAt": "2024-02-29T12:30:00Z",
    "customerId": "c",
    "reference": None,
    "metadata": {},
}


def shown(view: object) -> object:
    return orjson.loads(orjson.dumps(view, option=orjson.OPT_UTC_Z))


def test_orders_as_the_api_shows_them() -> None:
    """An order of several lines has nothing of a product at its top."""
    stored = """[{"productId": 3, "productUid": null, "quantity": 2, "unitPrice": "19.90"},
        {"productId": 4, "productUid": null, "quantity": 1, "unitPrice": "19.90"}]"""
    lines = [
        {"productId": 3, "quantity": 2, "unitPrice": "19.90", "totalPrice": "39.80"},
        {"productId": 4, "quantity": 1, "unitPrice": "19.90", "totalPrice": "19.90"},
    ]
    several = {**AS_SHOWN, "lines": lines, "productId": None, "quantity": None, "unitPrice": None}
    assert [AS_SHOWN, several] == shown([order_view(PLACED), order_view(order(None, None, None, stored))])
    for product_id, view in ((3, AS_SHOWN), (3, several), (4, several)):
        assert is_order_view(product_id, view)
        assert not is_order_view(5, view)
        assert not any(is_order_view(product_id, {**view, name: value}) for name, value in NO_VIEWS)


NO_VIEWS = [("lines", None), ("lines", [{"productId": 3}]), ("totalPrice", 1), ("expiresAt", 1), ("metadata", None)]


def test_an_entry_of_the_history_as_the_api_shows_it() -> None:
    short = '[{"productId":3,"requested":3,"available":1}]'
    entry = HistoryEntry("rejected", "insufficient_stock", TRACE_ID, AT, short)
    assert shown(entry_view(entry)) == {
        "status": "rejected",
        "reason": "insufficient_stock",
        "shortages": [{"productId": 3, "requested": 3, "available": 1}],
        "traceId": TRACE_ID,
        "createdAt": "2024-02-29T12:30:00Z",
    }


@given(st.lists(VERDICTS, max_size=12))
def test_the_first_verdict_of_each_order_counts(verdicts: list[Verdict]) -> None:
    orders = [(verdict.order_id, verdict.order_uid) for verdict in verdicts]
    expected = [verdicts[orders.index(order)] for order in dict.fromkeys(orders)]
    found = first_verdicts(verdicts)
    assert sorted(expected, key=repr) == sorted(found, key=repr)
    assert [verdict.order_id for verdict in found] == sorted(verdict.order_id for verdict in found)


@pytest.mark.parametrize("status", OrderStatus)
def test_an_order_that_is_neither_pending_nor_held_is_final(status: OrderStatus) -> None:
    assert is_final(status) is (status not in ("pending", "held"))


@pytest.mark.parametrize("status", OrderStatus)
def test_an_order_as_it_was_placed_does_not_show_what_came_after(status: OrderStatus) -> None:
    hour = AT + timedelta(hours=1)
    later = PLACED._replace(status=status.value, reason="insufficient_stock", shortages="[]", updated_at=hour)
    later = later._replace(metadata='{"b":"2"}', expires_at=hour)
    first = PLACED._replace(metadata='{"a":"1"}')
    assert later.as_placed(Terms(metadata='{"a":"1"}')) == first
    held = first._replace(expires_at=AT + timedelta(seconds=9))
    assert later.as_placed(Terms(metadata='{"a":"1"}', hold_seconds=9)) == held
