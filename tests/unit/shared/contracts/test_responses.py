"""What the services answer is what the contracts say; the schemas are strict, so nothing more and nothing less."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest
from marshmallow import Schema, ValidationError

import orders.domain
import orders.views
import products.domain
import products.views
from gateway.openapi import responses
from shared.contracts.requests import OrderStatus
from shared.errors import AppError, Code, invalid_field
from shared.pagination import Page, encode_cursor
from shared.web.responses import Origin, failure, success

NOW = datetime(2026, 11, 23, 9, 15, 2, 318745, UTC)
ORIGIN = Origin("0af7651916cd43dd8448eb211c80319c", "/products/42", NOW)
PRODUCT = products.domain.Product(42, "Lamp", Decimal("19.9"), 100, 1, NOW, NOW)
MOVEMENTS = [
    products.domain.Movement(2, responses.MovementKind.RESERVE, -2, 7, None, NOW),
    products.domain.Movement(1, responses.MovementKind.ADJUSTMENT, 5, None, "found", NOW),
]
ORDER = orders.domain.Draft(42, 2, Decimal("19.90"), ORIGIN.trace_id, "unused").placed(order_id=7, at=NOW)
ENTRY = orders.domain.HistoryEntry(OrderStatus.PENDING, None, ORIGIN.trace_id, NOW)

ANSWERS: list[tuple[Schema, Any, Page | None]] = [
    (responses.ProductAnswer(), products.views.product_view(PRODUCT), None),
    (responses.ProductsPage(), [products.views.product_view(PRODUCT)], Page(1, encode_cursor(42))),
    (responses.MovementsPage(), [products.views.movement_view(movement) for movement in MOVEMENTS], Page(2, None)),
    (responses.OrderAnswer(), orders.views.order_view(ORDER), None),
    (responses.OrdersPage(), [orders.views.order_view(ORDER)], Page(50, None)),
    (responses.HistoryAnswer(), [orders.views.entry_view(ENTRY)], None),
]


@pytest.mark.parametrize(("schema", "data", "page"), ANSWERS, ids=lambda each: type(each).__name__)
def test_an_answer_is_as_described(schema: Schema, data: Any, page: Page | None) -> None:
    assert schema.validate(orjson.loads(success(200, data, ORIGIN, page))) == {}


@pytest.mark.parametrize(
    "error", [AppError(Code.NOT_FOUND, "There is none"), invalid_field("id", "Must be an integer.")]
)
def test_a_refusal_is_as_described(error: AppError) -> None:
    assert responses.Failure().validate(orjson.loads(failure(error, ORIGIN))) == {}


def test_an_answer_with_a_field_more_is_not() -> None:
    content = orjson.loads(success(200, {**products.views.product_view(PRODUCT), "color": "red"}, ORIGIN))
    with pytest.raises(ValidationError) as refusal:
        responses.ProductAnswer().load(content)
    assert refusal.value.messages == {"data": {"color": ["Unknown field."]}}
