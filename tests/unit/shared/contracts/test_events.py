from typing import Any

import pytest
from marshmallow import ValidationError

from shared.contracts.events import DATA, EventType, Reason
from shared.pagination import MAX_ID

PRODUCT = {"productId": 1, "name": "Teapot", "price": "19.90"}
CREATED = {"orderId": 7, "productId": 1, "quantity": 2}
UPDATED = {"orderId": 7, "productId": 1, "status": "done"}
SAMPLES: dict[str, dict[str, Any]] = {
    EventType.PRODUCT_CREATED: PRODUCT,
    EventType.PRODUCT_UPDATED: PRODUCT,
    EventType.ORDER_CREATED: CREATED,
    EventType.ORDER_UPDATED: UPDATED,
    EventType.ORDER_CANCELLED: CREATED,
}


@pytest.mark.parametrize("event_type", EventType)
def test_every_field_is_needed_and_one_that_a_newer_writer_added_is_passed_over(event_type: EventType) -> None:
    schema, data = DATA[event_type], SAMPLES[event_type]
    assert schema.load(data | {"addedLater": {"any": "thing"}}) == schema.load(data)
    for name in data:
        with pytest.raises(ValidationError) as refusal:
            schema.load({key: value for key, value in data.items() if key != name})
        assert list(refusal.value.messages_dict) == [name]


@pytest.mark.parametrize(
    ("event_type", "name", "taken", "refused"),
    [
        (EventType.ORDER_CREATED, "quantity", [1, 1_000_000], [0, 1_000_001]),
        (EventType.ORDER_CREATED, "orderId", [1, MAX_ID], ["7", 0, MAX_ID + 1]),
        (EventType.ORDER_CANCELLED, "quantity", [1], [0]),
        (EventType.ORDER_UPDATED, "status", ["done", "rejected"], ["pending", "cancelled"]),
        (EventType.ORDER_UPDATED, "reason", [None, *Reason], ["no_mood"]),
        (EventType.PRODUCT_CREATED, "price", ["19.90"], [19.90]),
        (EventType.PRODUCT_CREATED, "name", ["a"], [""]),
        (EventType.PRODUCT_CREATED, "productId", [1, MAX_ID], [0, MAX_ID + 1]),
    ],
)
def test_wrong_data_is_refused(event_type: EventType, name: str, taken: list[Any], refused: list[Any]) -> None:
    for value in (*taken, *refused):
        problems = DATA[event_type].validate(SAMPLES[event_type] | {name: value})
        assert (value, list(problems)) == (value, [] if value in taken else [name])


def test_a_rejection_has_a_reason_or_none() -> None:
    for reason in (*Reason, None):
        loaded = DATA[EventType.ORDER_UPDATED].load(UPDATED | {"status": "rejected", "reason": reason})
        assert loaded == {"order_id": 7, "order_uid": None, "product_id": 1, "status": "rejected", "reason": reason}
    assert DATA[EventType.ORDER_UPDATED].load(UPDATED)["reason"] is None
