from decimal import Decimal
from typing import Any

import pytest
from marshmallow import Schema, ValidationError

from shared.contracts.requests import (
    AdjustStock,
    ChangeProduct,
    CreateOrder,
    CreateProduct,
    NoQuery,
    OrderQuery,
    OrdersQuery,
    OrderStatus,
    PageQuery,
    ResourcePath,
)
from shared.pagination import MAX_ID, encode_cursor

SCHEMAS = [
    CreateProduct(),
    ChangeProduct(),
    AdjustStock(),
    CreateOrder(),
    NoQuery(),
    PageQuery(),
    OrderQuery(),
    OrdersQuery(),
    ResourcePath(),
]
PRODUCT = {"name": "Teapot", "price": "19.90", "qty": 5}
ORDER = {"productId": 1, "quantity": 2}
ADJUSTMENT = {"delta": -2, "reason": "broken"}


def wrong_fields(schema: Schema, content: Any) -> set[str]:
    with pytest.raises(ValidationError) as refusal:
        schema.load(content)
    return set(refusal.value.messages_dict)


def test_a_product() -> None:
    expected = {"name": "Teapot", "price": Decimal("19.90"), "qty": 5}
    assert expected == CreateProduct().load(PRODUCT)


def test_an_order() -> None:
    assert CreateOrder().load(ORDER) == {"product_id": 1, "quantity": 2}


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: type(schema).__name__)
def test_an_unknown_field_is_refused_by_name(schema: Schema) -> None:
    assert "colour" in wrong_fields(schema, {"colour": "red"})


@pytest.mark.parametrize("content", [None, [], "text", 1, [ORDER]])
def test_a_body_that_is_no_object_is_refused(content: object) -> None:
    assert wrong_fields(CreateOrder(), content) == {"_schema"}


def test_everything_that_is_missing_is_named() -> None:
    assert wrong_fields(CreateProduct(), {}) == {"name", "price", "qty"}
    assert wrong_fields(CreateOrder(), {}) == {"productId", "quantity"}


def test_a_field_has_one_spelling() -> None:
    assert "product_id" in wrong_fields(CreateOrder(), ORDER | {"product_id": 1})


@pytest.mark.parametrize("qty", [0, 2**31 - 1])
def test_the_stock_of_a_product_within_its_limits(qty: int) -> None:
    assert CreateProduct().load(PRODUCT | {"qty": qty})["qty"] == qty


@pytest.mark.parametrize("qty", [-1, 2**31, 1.0, "5", True, None])
def test_the_stock_of_a_product_beyond_its_limits(qty: object) -> None:
    assert wrong_fields(CreateProduct(), PRODUCT | {"qty": qty}) == {"qty"}


@pytest.mark.parametrize("quantity", [1, 1_000_000])
def test_the_quantity_of_an_order_within_its_limits(quantity: int) -> None:
    assert CreateOrder().load(ORDER | {"quantity": quantity})["quantity"] == quantity


@pytest.mark.parametrize("quantity", [0, -1, 1_000_001, 2.5, "2", False, None])
def test_the_quantity_of_an_order_beyond_its_limits(quantity: object) -> None:
    assert wrong_fields(CreateOrder(), ORDER | {"quantity": quantity}) == {"quantity"}


@pytest.mark.parametrize("product_id", [0, -1, MAX_ID + 1, 10**400, "1", None])
def test_an_id_beyond_its_limits(product_id: object) -> None:
    assert wrong_fields(CreateOrder(), ORDER | {"productId": product_id}) == {"productId"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"name": "Pot"}, {"name": "Pot"}),
        ({"price": 5}, {"price": Decimal("5.00")}),
        ({"name": "Pot", "price": "0.01"}, {"name": "Pot", "price": Decimal("0.01")}),
    ],
)
def test_a_change_holds_what_it_names_and_nothing_else(content: dict[str, Any], expected: dict[str, Any]) -> None:
    assert expected == ChangeProduct().load(content)


@pytest.mark.parametrize(
    ("content", "fields"),
    [
        ({}, {"_schema"}),
        ({"name": None}, {"name"}),
        ({"name": ""}, {"name"}),
        ({"price": None}, {"price"}),
        ({"price": -1, "name": 7}, {"name", "price"}),
        ({"qty": 5}, {"qty"}),
        ({"version": 2, "name": "Pot"}, {"version"}),
    ],
)
def test_no_change(content: dict[str, Any], fields: set[str]) -> None:
    assert wrong_fields(ChangeProduct(), content) == fields


@pytest.mark.parametrize("delta", [-(2**31 - 1), -1, 1, 2**31 - 1])
def test_an_adjustment_of_stock_within_its_limits(delta: int) -> None:
    assert AdjustStock().load(ADJUSTMENT | {"delta": delta}) == {"delta": delta, "reason": "broken"}


@pytest.mark.parametrize("delta", [0, -(2**31), 2**31, 1.0, "1", True, None])
def test_an_adjustment_of_stock_beyond_its_limits(delta: object) -> None:
    assert wrong_fields(AdjustStock(), ADJUSTMENT | {"delta": delta}) == {"delta"}


@pytest.mark.parametrize("reason", ["", " ", "x" * 201, "a\nb", 7, None])
def test_an_adjustment_has_a_reason_that_can_be_read(reason: object) -> None:
    assert wrong_fields(AdjustStock(), ADJUSTMENT | {"reason": reason}) == {"reason"}


def test_an_adjustment_needs_both() -> None:
    assert wrong_fields(AdjustStock(), {}) == {"delta", "reason"}


@pytest.mark.parametrize(("query", "wait"), [({}, 0), ({"wait": "0"}, 0), ({"wait": "30"}, 30)])
def test_the_wait_for_an_order(query: dict[str, str], wait: int) -> None:
    assert OrderQuery().load(query) == {"wait": wait}


@pytest.mark.parametrize("wait", ["31", "-1", "x", "", "1.5", "1e1"])
def test_no_wait_for_an_order(wait: str) -> None:
    assert wrong_fields(OrderQuery(), {"wait": wait}) == {"wait"}


def test_a_query_without_parameters_asks_for_the_first_page() -> None:
    assert PageQuery().load({}) == {"limit": 50, "cursor": MAX_ID}
    assert OrdersQuery().load({}) == {"limit": 50, "cursor": MAX_ID, "status": None, "product_id": None}


def test_a_query_with_every_parameter() -> None:
    query = {"limit": "200", "cursor": encode_cursor(7), "status": "done", "productId": "3"}
    assert OrdersQuery().load(query) == {"limit": 200, "cursor": 7, "status": "done", "product_id": 3}


@pytest.mark.parametrize("status", OrderStatus)
def test_orders_of_each_status_can_be_asked_for(status: OrderStatus) -> None:
    assert OrdersQuery().load({"status": status.value})["status"] == status


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"),
        ("limit", "201"),
        ("limit", "all"),
        ("cursor", "made-up"),
        ("cursor", ""),
        ("status", "lost"),
        ("status", ""),
        ("productId", "0"),
        ("productId", str(MAX_ID + 1)),
    ],
)
def test_a_wrong_parameter_is_named(name: str, value: str) -> None:
    assert wrong_fields(OrdersQuery(), {name: value}) == {name}


def test_the_ids_of_a_path() -> None:
    assert ResourcePath().load({"id": "7"}) == {"id": 7}
    assert ResourcePath().load({"productId": str(MAX_ID)}) == {"product_id": MAX_ID}
    assert wrong_fields(ResourcePath(), {"id": "seven"}) == {"id"}
