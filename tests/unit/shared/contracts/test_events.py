from typing import Any

import pytest
from marshmallow import ValidationError

from shared.contracts.events import DATA, EventType, Reason
from shared.contracts.fields import lines_of
from shared.pagination import MAX_ID

PRODUCT = {"productId": 1, "name": "Teapot", "price": "19.90"}
CREATED = {"orderId": 7, "productId": 1, "quantity": 2}
CREATED_OF_LINES: dict[str, Any] = {
    "orderId": 7,
    "lines": [{"productId": 1, "quantity": 2}, {"productId": 2, "quantity": 1}],
}
UPDATED = {"orderId": 7, "productId": 1, "status": "done"}
UPDATED_OF_LINES = CREATED_OF_LINES | {"status": "done"}
SAMPLES: dict[str, dict[str, Any]] = {
    EventType.PRODUCT_CREATED: PRODUCT,
    EventType.PRODUCT_UPDATED: PRODUCT,
    EventType.ORDER_CREATED: CREATED,
    EventType.ORDER_UPDATED: UPDATED,
    EventType.ORDER_CANCELLED: CREATED,
    EventType.ORDER_CONFIRMED: CREATED,
    EventType.ORDER_EXPIRED: CREATED,
}
OF_LINES = {
    type_: UPDATED_OF_LINES if type_ == EventType.ORDER_UPDATED else CREATED_OF_LINES
    for type_ in EventType
    if type_.startswith("order.")
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
        (EventType.ORDER_CREATED, "held", [True, False], ["soon", None]),
        (EventType.ORDER_UPDATED, "status", ["done", "held", "rejected"], ["pending", "cancelled", "expired"]),
        (
            EventType.ORDER_UPDATED,
            "shortages",
            [[], [{"productId": 1, "requested": 2, "available": 0}]],
            [None, {}, [{"productId": 1, "requested": 2}], [{"productId": 1, "requested": 0, "available": 0}]],
        ),
        (EventType.ORDER_UPDATED, "reason", [None, *Reason, "of_a_newer_release"], ["", 7]),
        (EventType.PRODUCT_CREATED, "price", ["19.90"], [19.90]),
        (EventType.PRODUCT_CREATED, "name", ["a"], [""]),
        (EventType.PRODUCT_CREATED, "productId", [1, MAX_ID], [0, MAX_ID + 1]),
    ],
)
def test_wrong_data_is_refused(event_type: EventType, name: str, taken: list[Any], refused: list[Any]) -> None:
    for value in (*taken, *refused):
        problems = DATA[event_type].validate(SAMPLES[event_type] | {name: value})
        assert (value, list(problems)) == (value, [] if value in taken else [name])


@pytest.mark.parametrize("event_type", OF_LINES)
def test_an_order_of_several_products_has_lines_instead_of_a_product(event_type: EventType) -> None:
    schema, data = DATA[event_type], OF_LINES[event_type]
    loaded = schema.load(data | {"addedLater": 1, "productId": None})
    assert [(line["product_id"], line["quantity"]) for line in lines_of(loaded)] == [(1, 2), (2, 1)]
    assert "product_id" not in loaded
    assert schema.load(data | {"lines": [{**data["lines"][0], "addedLater": 1}]})["lines"] == loaded["lines"][:1]
    wrong: list[tuple[Any, Any]] = [
        (None, ["Field may not be null."]),
        ([], ["Length must be between 1 and 100."]),
        (data["lines"] * 51, ["Length must be between 1 and 100."]),
        ([data["lines"][0], {"productId": 2}], {1: {"quantity": ["Missing data for required field."]}}),
    ]
    for lines, problem in wrong:
        with pytest.raises(ValidationError) as refusal:
            schema.load(data | {"lines": lines})
        assert refusal.value.messages_dict == {"lines": problem}
