from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from shared.errors import AppError, Code, Detail
from shared.pagination import Page
from shared.web import responses
from shared.web.responses import Origin

ORIGIN = Origin("4bf92f3577b34da6a3ce929d0e0e4736", "/orders", datetime(2024, 2, 29, 12, 30, 1, 500_000, UTC))
FROM_ORIGIN = {
    "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
    "timestamp": "2024-02-29T12:30:01.500000Z",
    "path": "/orders",
}


def test_success_holds_the_data_and_where_it_comes_from() -> None:
    expected = {"statusCode": 201, "data": {"id": 1}, **FROM_ORIGIN}
    assert expected == orjson.loads(responses.success(201, {"id": 1}, ORIGIN))


def test_ready_json_is_put_in_as_it_is() -> None:
    body = responses.success(200, orjson.Fragment(b'{"price": 1.10}'), ORIGIN)
    assert b'"data":{"price": 1.10},' in body


@pytest.mark.parametrize("cursor", ["a-cursor", None])
def test_a_list_says_where_it_goes_on(cursor: str | None) -> None:
    expected = {"statusCode": 200, "data": [], "page": {"limit": 50, "next": cursor}, **FROM_ORIGIN}
    assert expected == orjson.loads(responses.success(200, [], ORIGIN, Page(50, cursor)))


def test_failure_holds_the_code_the_message_and_each_wrong_field() -> None:
    error = AppError(Code.VALIDATION_ERROR, "Not valid", details=[Detail("quantity", "Too many."), Detail("x", "No.")])
    details = [{"field": "quantity", "message": "Too many."}, {"field": "x", "message": "No."}]
    shown = {"code": "validation_error", "message": "Not valid", "details": details}
    expected = {"statusCode": 400, "data": None, "error": shown, **FROM_ORIGIN}
    assert expected == orjson.loads(responses.failure(error, ORIGIN))


def test_failure_without_details_has_no_details() -> None:
    expected = {"code": "not_found", "message": "There is no order 7"}
    assert expected == _failure(AppError(Code.NOT_FOUND, "There is no order 7"))["error"]


def test_the_message_of_an_internal_error_is_for_the_log_only() -> None:
    error = _failure(AppError(Code.INTERNAL_ERROR, "password of orders_db is hunter2"))["error"]
    assert error["code"] == "internal_error"
    assert "hunter2" not in error["message"]


@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.UPSTREAM_ERROR, Code.UPSTREAM_TIMEOUT])
def test_the_message_of_an_outage_is_shown(code: Code) -> None:
    assert _failure(AppError(code, "orders cannot be reached"))["error"]["message"] == "orders cannot be reached"


def test_our_own_answers_are_recognised() -> None:
    assert responses.is_envelope(200, orjson.loads(responses.success(200, None, ORIGIN)))
    assert responses.is_envelope(404, orjson.loads(responses.failure(AppError(Code.NOT_FOUND, "None"), ORIGIN)))


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        "text",
        {},
        {"statusCode": 201, "data": {}, "traceId": "t"},
        {"statusCode": 200, "traceId": "t"},
        {"statusCode": 200, "data": {}},
        {"statusCode": 200, "data": {}, "traceId": 1},
    ],
)
def test_anything_else_is_no_envelope_of_a_200(content: object) -> None:
    assert not responses.is_envelope(200, content)


def _failure(error: AppError) -> Any:
    return orjson.loads(responses.failure(error, ORIGIN))
