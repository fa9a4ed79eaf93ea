"""What a request may hold, for the services and for the JSON Schema of the API document that is made from theirs."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from marshmallow import Schema, ValidationError

from shared.contracts.requests import (
    AdjustStock,
    ChangeOrder,
    ChangeProduct,
    CreateOrder,
    CreateOrderOfLines,
    CreateProduct,
    HoldOrder,
    NoQuery,
    OrderQuery,
    OrdersQuery,
    OrderStatus,
    PageQuery,
    ProductsQuery,
    ResourcePath,
)
from shared.pagination import MAX_ID, encode_cursor
from tools.documents.openapi.json_schema import specification

BODIES = {
    "product": CreateProduct(),
    "change": ChangeProduct(),
    "adjustment": AdjustStock(),
    "order": CreateOrder(),
    "order of lines": CreateOrderOfLines(),
    "hold": HoldOrder(),
    "change of an order": ChangeOrder(),
}
QUERIES = (NoQuery(), PageQuery(), ProductsQuery(), OrderQuery(), OrdersQuery(), ResourcePath())
VALID: dict[str, dict[str, Any]] = {
    "product": {"name": "Teapot", "price": "19.90", "qty": 5},
    "change": {"name": "Teapot", "price": "19.90"},
    "adjustment": {"delta": -2, "reason": "broken"},
    "order": {"productId": 1, "quantity": 2},
    "order of lines": {"lines": [{"productId": 1, "quantity": 2}, {"productId": 2, "quantity": 1}]},
    "hold": {"holdSeconds": 900},
    "change of an order": {"metadata": {"channel": "app"}},
}
LOADED: dict[str, dict[str, Any]] = {
    "product": {"name": "Teapot", "price": Decimal("19.90"), "qty": 5},
    "change": {"name": "Teapot", "price": Decimal("19.90")},
    "adjustment": {"delta": -2, "reason": "broken"},
    "order": {"product_id": 1, "quantity": 2},
    "order of lines": {"lines": [{"product_id": 1, "quantity": 2}, {"product_id": 2, "quantity": 1}]},
    "hold": {"hold_seconds": 900},
    "change of an order": {"metadata": {"channel": "app"}},
}
TEXTS = (
    ["a", "a" * 200, " a ", "\N{TEAPOT}", "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{ROCKET}"],
    [
        *("", " ", "a" * 201, "a\nb", "a\x7f", "\u3000", 7, None),
        *("\ufeff", "\u200b", "\u202e", "a\u202eb", "\u2066a\u2069", "a\ufffe", "\u3164"),
    ],
)
PRICES = (
    [0, 0.01, 0.1, 1.1, 19.9, 19.99, 9999999999.99, "0", "19.9", "1.25"],
    [-1, -0.01, 10000000000, "1.", "1,5", "-1", True, "10000000000", "1e3", "", None],
)
TWENTY = {f"key {n}": "" for n in range(20)}
PAIRS: tuple[list[Any], list[Any]] = (
    [{}, TWENTY, {"k" * 40: "v" * 500}, {"\N{TEAPOT}": " "}, {"k": "\u200b"}],
    [
        *(TWENTY | {"one more": ""}, {"k" * 41: ""}, {"": "v"}, {" ": "v"}, {"k\nk": "v"}),
        *({"\u200b": "v"}, {"a\u202eb": "v"}, {"k": "\u202e"}, {"k": "\uffff"}),
        *({"k": "v" * 501}, {"k": "\x00"}, {"k": None}, {"k": 1}, {"k": {}}, [], "k", None),
    ],
)
LINE = {"productId": 1, "quantity": 2}
LINES = [{"productId": number, "quantity": 1} for number in range(1, 102)]
SECONDS: tuple[list[Any], list[Any]] = ([1, 604_800], [0, -1, 604_801, 1.5, "1", True, None])
# The values of a field that are taken, and those that are refused.
FIELDS: dict[tuple[str, str], tuple[list[Any], list[Any]]] = {
    ("product", "name"): TEXTS,
    ("product", "price"): PRICES,
    ("product", "qty"): ([0, 2**31 - 1], [-1, 2**31, 1.5, "5", True, None]),
    ("change", "name"): TEXTS,
    ("change", "price"): PRICES,
    ("change", "qty"): ([], [5]),
    ("adjustment", "delta"): ([-(2**31 - 1), -1, 1, 2**31 - 1], [0, -(2**31), 2**31, 1.5, "1", True, None]),
    ("adjustment", "reason"): TEXTS,
    ("order", "productId"): ([1, MAX_ID], [0, -1, MAX_ID + 1, 10**400, "1", None]),
    ("order", "quantity"): ([1, 1_000_000], [0, -1, 1_000_001, 2.5, "2", False, None]),
    ("order", "unitPrice"): PRICES,
    ("order", "holdSeconds"): SECONDS,
    ("order of lines", "holdSeconds"): SECONDS,
    ("hold", "holdSeconds"): SECONDS,
    ("order of lines", "lines"): (
        [[LINE], LINES[:100], [LINE | {"unitPrice": "19.90"}], [LINE | {"unitPrice": 0}]],
        [
            *(None, {}, "1", 1, LINE, [], LINES, [None], [LINE, 7], [LINE, {"productId": 2}], [LINE, {"quantity": 1}]),
            *([LINE | {name: None}] for name in ("productId", "quantity", "unitPrice")),
            *([LINE | {"color": "red"}], [LINE | {"unitPrice": "1.005"}], [LINE | {"quantity": 0}]),
        ],
    ),
    **{("order of lines", name): ([], [1]) for name in ("productId", "quantity", "unitPrice")},
    ("order of lines", "customerId"): TEXTS,
    ("order of lines", "reference"): TEXTS,
    ("order of lines", "metadata"): PAIRS,
    ("order", "customerId"): TEXTS,
    ("order", "reference"): TEXTS,
    ("order", "metadata"): PAIRS,
    ("order", "product_id"): ([], [1]),
    ("change of an order", "metadata"): PAIRS,
    ("change of an order", "reference"): ([], ["A-2"]),
    **{(body, "color"): ([], ["red"]) for body in BODIES},
}
# JSON Schema takes 1.0 for an integer, the services do not.
ONLY_IN_SERVICES = [
    *(("product", "qty"), ("adjustment", "delta"), ("order", "productId"), ("order", "quantity")),
    *(("order", "holdSeconds"), ("hold", "holdSeconds")),
]


def validator(schema: Schema) -> Draft202012Validator:
    spec, converter = specification("test")
    reference = converter.resolve_nested_schema(schema)  # type: ignore[no-untyped-call]  # apispec's own
    return Draft202012Validator({**reference, "components": spec.to_dict()["components"]})


VALIDATORS = {body: validator(schema) for body, schema in BODIES.items()}


def wrong_fields(schema: Schema, content: Any) -> set[str]:
    """Reads fractions as the services do, while a validator sees a float."""
    try:
        schema.load(json.loads(json.dumps(content), parse_float=Decimal))
    except ValidationError as error:
        return set(error.messages_dict)
    return set()


@pytest.mark.parametrize(("body", "field"), FIELDS)
def test_services_and_json_schema_take_and_refuse_the_same(body: str, field: str) -> None:
    taken, refused = FIELDS[body, field]
    for value in (*taken, *refused):
        content = VALID[body] | {field: value}
        is_taken = any(value is each for each in taken)
        wrong = set() if is_taken else {field}
        assert (value, wrong_fields(BODIES[body], content)) == (value, wrong)
        assert (value, VALIDATORS[body].is_valid(content)) == (value, is_taken)
    if (body, field) in ONLY_IN_SERVICES:
        assert wrong_fields(BODIES[body], VALID[body] | {field: 1.0}) == {field}


@pytest.mark.parametrize("body", BODIES)
def test_a_body_is_an_object_with_every_field_but_those_of_a_change(body: str) -> None:
    assert BODIES[body].load(VALID[body]) == LOADED[body]
    for content in (None, [], "text", 1, [VALID[body]]):
        assert wrong_fields(BODIES[body], content) == {"_schema"}
    assert wrong_fields(BODIES[body], {}) == ({"_schema"} if body == "change" else set(VALID[body]))
    assert not VALIDATORS[body].is_valid({})
    for name, value in VALID[body].items():
        rest = {other: valid for other, valid in VALID[body].items() if other != name}
        assert wrong_fields(BODIES[body], rest) == (set() if body == "change" else {name})
        assert VALIDATORS[body].is_valid(rest) == (body == "change")
        if body == "change":
            assert BODIES[body].load({name: value}) == {name: LOADED[body][name]}


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({}, {}),
        ({"holdSeconds": 900, "reference": "A-1"}, {}),
        ({"productId": 1}, {"productId": ["Unknown field."]}),
        ({"productId": 1, "quantity": 2}, {name: ["Unknown field."] for name in ("productId", "quantity")}),
        ({"lines": []}, {"lines": ["Length must be between 1 and 100."]}),
        ({"lines": LINES}, {"lines": ["Length must be between 1 and 100."]}),
        ({"lines": [LINE, {**LINE, "productId": 2, "color": 1}]}, {"lines": {1: {"color": ["Unknown field."]}}}),
        ({"lines": None}, {"lines": ["Field may not be null."]}),
    ],
)
def test_an_order_is_of_one_product_or_of_lines(more: dict[str, Any], problem: dict[str, Any]) -> None:
    content = VALID["order of lines"] | more
    assert VALIDATORS["order"].is_valid(content) == (not problem)
    if not problem:
        assert CreateOrder().load(content)["lines"] == LOADED["order of lines"]["lines"]
        return
    with pytest.raises(ValidationError) as refusal:
        CreateOrder().load(content)
    assert refusal.value.messages_dict == problem


def test_each_line_that_names_a_product_again_is_refused() -> None:
    """JSON Schema cannot say it."""
    lines = [{"productId": number, "quantity": 1} for number in (1, 2, 2, 1, 3)]
    with pytest.raises(ValidationError) as refusal:
        CreateOrder().load({"lines": lines})
    again = {"productId": ["Another line has this product."]}
    assert refusal.value.messages_dict == {"lines": {2: again, 3: again}}


@given(st.integers(0, 10**12 - 1))
def test_both_take_a_number_with_two_places(cents: int) -> None:
    content = VALID["product"] | {"price": cents / 100}
    assert VALIDATORS["product"].is_valid(content)
    assert wrong_fields(BODIES["product"], content) == set()


# Before a last line feed `$` matches in Python, but not in ECMA-262, which JSON Schema means by a pattern. Where the
# pattern takes more than the services, test_fields.py shows.
_TEXT = st.characters(exclude_categories=["Cs", "Cn", "Cf", "Mn", "Mc", "Me"], include_characters="\u200b\u202e\ufffe")


@given(
    st.text(_TEXT, max_size=5).filter(lambda name: not name.endswith("\n")),
    st.text("0123456789+.eE -", max_size=14),
)
def test_both_take_the_same_texts_and_amounts(name: str, price: str) -> None:
    for content in (VALID["product"] | {"name": name}, VALID["product"] | {"price": price}):
        assert VALIDATORS["product"].is_valid(content) == (not wrong_fields(BODIES["product"], content))


NOTHING_SELECTED = dict.fromkeys(["status", "product_id", "customer_id", "reference"])


@pytest.mark.parametrize(
    ("schema", "query", "expected"),
    [
        (NoQuery(), {}, {}),
        (PageQuery(), {}, {"limit": 50, "cursor": MAX_ID}),
        (PageQuery(), {"limit": "1"}, {"limit": 1, "cursor": MAX_ID}),
        (ProductsQuery(), {}, {"limit": 50, "cursor": MAX_ID, "ids": None}),
        (ProductsQuery(), {"ids": f"7,1,{MAX_ID}"}, {"limit": 50, "cursor": MAX_ID, "ids": [7, 1, MAX_ID]}),
        (OrderQuery(), {}, {"wait": 0}),
        (OrderQuery(), {"wait": "0"}, {"wait": 0}),
        (OrderQuery(), {"wait": "30"}, {"wait": 30}),
        (OrdersQuery(), {}, {"limit": 50, "cursor": MAX_ID} | NOTHING_SELECTED),
        (
            OrdersQuery(),
            {"limit": "200", "cursor": encode_cursor(7), "status": "done", "productId": "3"},
            {"limit": 200, "cursor": 7} | NOTHING_SELECTED | {"status": "done", "product_id": 3},
        ),
        (
            OrdersQuery(),
            {"customerId": "c", "limit": "1"},
            {"limit": 1, "cursor": MAX_ID} | NOTHING_SELECTED | {"customer_id": "c"},
        ),
        (ResourcePath(), {"id": "7"}, {"id": 7}),
        (ResourcePath(), {"productId": str(MAX_ID)}, {"product_id": MAX_ID}),
    ],
)
def test_a_query_or_path_is_read(schema: Schema, query: dict[str, str], expected: dict[str, object]) -> None:
    assert schema.load(query) == expected


@pytest.mark.parametrize("status", OrderStatus)
def test_orders_of_each_status_can_be_asked_for(status: OrderStatus) -> None:
    assert OrdersQuery().load({"status": status.value})["status"] == status


@pytest.mark.parametrize(
    ("schema", "name", "values"),
    [
        *((schema, "color", ["red"]) for schema in QUERIES),
        (
            ProductsQuery(),
            "ids",
            ["", "1,", "1,1", "0", "1, 2", "x", str(MAX_ID + 1), ",".join(map(str, range(1, 102)))],
        ),
        (OrderQuery(), "wait", ["31", "-1", "x", "", "1.5", "1e1"]),
        (OrdersQuery(), "limit", ["0", "201", "all"]),
        (OrdersQuery(), "cursor", ["made-up", ""]),
        (OrdersQuery(), "status", ["lost", ""]),
        (OrdersQuery(), "productId", ["0", str(MAX_ID + 1)]),
        (OrdersQuery(), "customerId", ["", " ", "a" * 201, "a\x7f"]),
        (OrdersQuery(), "reference", ["", " ", "a" * 201, "a\x7f"]),
        (ResourcePath(), "id", ["seven", "0", str(MAX_ID + 1)]),
        (ResourcePath(), "productId", ["0", str(MAX_ID + 1)]),
    ],
)
def test_a_wrong_parameter_is_named(schema: Schema, name: str, values: list[str]) -> None:
    assert [wrong_fields(schema, {name: value}) for value in values] == [{name}] * len(values)


@pytest.mark.parametrize(
    ("schema", "query", "refused"),
    [
        (ProductsQuery(), {"ids": "1", "limit": "50"}, "ids"),
        (OrdersQuery(), {"customerId": "c", "status": "done"}, "customerId"),
        (OrdersQuery(), {"reference": "r", "productId": "1"}, "reference"),
        (OrdersQuery(), {"reference": "r", "customerId": "c"}, "customerId"),
    ],
)
def test_parameters_that_no_index_serves_together_are_refused(
    schema: Schema, query: dict[str, str], refused: str
) -> None:
    assert wrong_fields(schema, query) == {refused}
