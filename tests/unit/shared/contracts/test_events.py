from typing import Any

import pytest
from marshmallow import ValidationError

from shared.contracts.events import DATA, EventType, Reason

PRODUCT = {"productId": 1, "name": "Teapot", "price": "19.90"}
CREATED = {"orderId": 7, "productId": 1, "quantity": 2}
UPDATED = {"orderId": 7, "productId": 1, "status": "done"}
SAMPLES = [
    (EventType.PRODUCT_CREATED, PRODUCT),
    (EventType.PRODUCT_UPDATED, PRODUCT),
    (EventType.ORDER_CREATED, CREATED),
    (EventType.ORDER_UPDATED, UPDATED),
    (EventType.ORDER_CANCELLED, CREATED),
]


@pytest.mark.parametrize(("event_type", "data"), SAMPLES)
def test_a_field_that_a_newer_writer_added_is_passed_over(event_type: EventType, data: dict[str, Any]) -> None:
    schema = DATA[event_type]
    assert schema.load(data) == schema.load(data | {"addedLater": {"any": "thing"}})


@pytest.mark.parametrize(("event_type", "data"), SAMPLES)
def test_every_field_is_needed(event_type: EventType, data: dict[str, Any]) -> None:
    for name in data:
        with pytest.raises(ValidationError) as refusal:
            DATA[event_type].load({key: value for key, value in data.items() if key != name})
        assert list(refusal.value.messages_dict) == [name]


@pytest.mark.parametrize(
    ("event_type", "data"),
    [
        (EventType.ORDER_CREATED, CREATED | {"quantity": 0}),
        (EventType.ORDER_CREATED, CREATED | {"quantity": 1_000_001}),
        (EventType.ORDER_CREATED, CREATED | {"orderId": "7"}),
        (EventType.ORDER_CANCELLED, CREATED | {"quantity": 0}),
        (EventType.ORDER_UPDATED, UPDATED | {"status": "pending"}),
        (EventType.ORDER_UPDATED, UPDATED | {"status": "cancelled"}),
        (EventType.ORDER_UPDATED, UPDATED | {"status": "rejected", "reason": "no_mood"}),
        (EventType.PRODUCT_CREATED, PRODUCT | {"price": 19.90}),
        (EventType.PRODUCT_CREATED, PRODUCT | {"name": ""}),
    ],
)
def test_wrong_data_is_refused(event_type: EventType, data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DATA[event_type].load(data)


@pytest.mark.parametrize("reason", [*Reason, None])
def test_a_rejection_may_tell_its_reason(reason: Reason | None) -> None:
    loaded = DATA[EventType.ORDER_UPDATED].load(UPDATED | {"status": "rejected", "reason": reason})
    assert loaded == {"order_id": 7, "product_id": 1, "status": "rejected", "reason": reason}
