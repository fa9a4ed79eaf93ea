"""The short way of a schema takes and refuses what marshmallow alone does, and loads it alike."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import Schema, ValidationError

from shared.contracts.events import DATA, EventType
from shared.contracts.plain import PlainSchema
from shared.contracts.requests import CreateOrder

UID = "01935f2a-7c3e-7abc-8def-0123456789ab"
ORDER = {"orderId": 7, "orderUid": UID, "productId": 1, "productUid": UID, "quantity": 2}
PLAIN: list[tuple[Schema, dict[str, Any]]] = [
    (CreateOrder(), {"productId": 1, "quantity": 2}),
    (DATA[EventType.ORDER_CREATED], ORDER),
    (DATA[EventType.ORDER_CANCELLED], ORDER),
    (DATA[EventType.ORDER_UPDATED], {**ORDER, "status": "done", "reason": None}),
]
VALUES = st.sampled_from([None, True, 0, 1, 1.0, 10**19, "", "1", "done", UID, UID.upper(), f"{UID}\n", [1], {"a": 1}])


def outcome(load: Any, data: Any) -> Any:
    try:
        return load(data)
    except ValidationError as error:
        return error.messages


@pytest.mark.parametrize(("schema", "data"), PLAIN)
@given(changes=st.dictionaries(st.sampled_from([*ORDER, "status", "reason", "addedLater"]), VALUES), lost=st.text())
def test_the_short_way_changes_nothing(
    schema: PlainSchema, data: dict[str, Any], changes: dict[str, Any], lost: str
) -> None:
    known = {field.data_key or name for name, field in schema.fields.items()}
    for each in (data, data | changes, {name: (data | changes).get(name) for name in known}, [data], lost):
        assert outcome(schema.load, each) == outcome(lambda content: Schema.load(schema, content), each)


@pytest.mark.parametrize(("schema", "data"), PLAIN)
def test_plain_objects_take_the_short_way(
    schema: PlainSchema, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {
        (field.data_key or name): data[field.data_key or name]
        for name, field in schema.fields.items()
        if name in schema.plain
    }
    expected = Schema.load(schema, content)
    monkeypatch.setattr(Schema, "load", None)
    assert schema.load(content) == expected
