"""A JSON Schema and the marshmallow schema that it is made from judge alike."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from marshmallow import Schema, ValidationError

from gateway.openapi.json_schema import AMOUNT, specification
from shared.contracts.events import DATA
from shared.contracts.requests import AdjustStock, ChangeProduct, CreateOrder, CreateProduct
from shared.pagination import MAX_ID

KINDS: tuple[type[Schema], ...] = (CreateProduct, ChangeProduct, AdjustStock, CreateOrder)
SCHEMAS = {kind: kind() for kind in KINDS}


def validator(schema: Schema) -> Draft202012Validator:
    spec, converter = specification("test")
    reference = converter.resolve_nested_schema(schema)  # type: ignore[no-untyped-call]  # apispec's own
    return Draft202012Validator({**reference, "components": spec.to_dict()["components"]})


VALIDATORS = {kind: validator(schema) for kind, schema in SCHEMAS.items()}


def loads(schema: Schema, content: Any) -> bool:
    """Of JSON as the services read it: a fraction as it is written, while a validator sees a float."""
    try:
        schema.load(json.loads(json.dumps(content), parse_float=Decimal))
    except ValidationError:
        return False
    return True


PRODUCT: dict[str, Any] = {"name": "Lamp", "price": "1.00", "qty": 1}
ADJUSTMENT: dict[str, Any] = {"delta": 1, "reason": "found"}
ORDER: dict[str, Any] = {"productId": 1, "quantity": 1}
CASES: list[tuple[type[Schema], dict[str, Any], bool]] = [
    *(
        (CreateProduct, PRODUCT | {"price": value}, True)
        for value in (0, 0.01, 0.1, 1.1, 19.9, 19.99, 9999999999.99, "0", "19.9", "1.25")
    ),
    *(
        (CreateProduct, PRODUCT | {"price": value}, False)
        for value in (-1, -0.01, 10000000000, "1.", "1,5", "-1", True)
    ),
    *((CreateProduct, PRODUCT | {"price": value}, False) for value in ("10000000000", "1e3", "", None)),
    *((CreateProduct, PRODUCT | {"name": value}, True) for value in ("a", "a" * 200, " a ", "\N{TEAPOT}", "\ufeff")),
    *(
        (CreateProduct, PRODUCT | {"name": value}, False)
        for value in ("", " ", "a" * 201, "a\nb", "a\x7f", "\u3000", 7)
    ),
    *((CreateProduct, PRODUCT | {"qty": value}, True) for value in (0, 2147483647)),
    *((CreateProduct, PRODUCT | {"qty": value}, False) for value in (-1, 2147483648, "1", None, True)),
    (CreateProduct, PRODUCT | {"color": "red"}, False),
    (CreateProduct, {"name": "Lamp"}, False),
    (ChangeProduct, {}, False),
    (ChangeProduct, {"name": "Lamp"}, True),
    (ChangeProduct, {"price": 1}, True),
    *((AdjustStock, ADJUSTMENT | {"delta": value}, True) for value in (-2147483647, -1, 1, 2147483647)),
    *((AdjustStock, ADJUSTMENT | {"delta": value}, False) for value in (0, -2147483648, 2147483648, "1")),
    *((CreateOrder, ORDER | {"productId": value}, True) for value in (1, MAX_ID)),
    *((CreateOrder, ORDER | {"productId": value}, False) for value in (0, -1, MAX_ID + 1, "1")),
    *((CreateOrder, ORDER | {"quantity": value}, value in (1, 1_000_000)) for value in (0, 1, 1_000_000, 1_000_001)),
]


@pytest.mark.parametrize(("kind", "content", "expected"), CASES, ids=lambda each: ascii(each)[:60])
def test_both_take_and_refuse_the_same(kind: type[Schema], content: dict[str, Any], expected: bool) -> None:
    assert (VALIDATORS[kind].is_valid(content), loads(SCHEMAS[kind], content)) == (expected, expected)


@given(st.integers(0, 10**12 - 1))
def test_both_take_a_number_with_two_places(cents: int) -> None:
    content = PRODUCT | {"price": cents / 100}
    assert VALIDATORS[CreateProduct].is_valid(content)
    assert loads(SCHEMAS[CreateProduct], content)


# Before a last line feed `$` matches in Python, but not in ECMA-262, which JSON Schema means by a pattern.
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=5).filter(lambda name: not name.endswith("\n")))
def test_both_take_the_same_texts(name: str) -> None:
    content = PRODUCT | {"name": name}
    assert VALIDATORS[CreateProduct].is_valid(content) == loads(SCHEMAS[CreateProduct], content)


@given(st.from_regex(r"[0-9+.eE -]{0,14}", fullmatch=True))
def test_both_take_the_same_amounts(price: str) -> None:
    content = PRODUCT | {"price": price}
    assert VALIDATORS[CreateProduct].is_valid(content) == loads(SCHEMAS[CreateProduct], content)


def test_an_event_may_gain_fields_and_carries_amounts_as_they_are_written() -> None:
    spec, converter = specification("test", AMOUNT)
    converter.resolve_nested_schema(DATA["product.created"])  # type: ignore[no-untyped-call]  # apispec's own
    schema = spec.to_dict()["components"]["schemas"]["ProductData"]
    assert "additionalProperties" not in schema
    assert schema["properties"]["price"] == dict(AMOUNT)
