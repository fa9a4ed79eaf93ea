from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from shared.errors import AppError, Code, Detail
from shared.pagination import Page
from shared.web import responses
from shared.web.responses import Origin, answer, refusal

ORIGIN = Origin("4bf92f3577b34da6a3ce929d0e0e4736", "/orders", datetime(2024, 2, 29, 12, 30, 1, 500_000, UTC))
FROM_ORIGIN = {
    "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
    "timestamp": "2024-02-29T12:30:01.500000Z",
    "path": "/orders",
}
# The phrases of RFC 9110 §15, and of RFC 6585 §4 and §5 for 429 and 431.
PROMISED = {
    "invalid_json": "400 Bad Request",
    "validation_error": "400 Bad Request",
    "unauthorized": "401 Unauthorized",
    "forbidden": "403 Forbidden",
    "not_found": "404 Not Found",
    "method_not_allowed": "405 Method Not Allowed",
    "request_timeout": "408 Request Timeout",
    "conflict": "409 Conflict",
    "precondition_failed": "412 Precondition Failed",
    "payload_too_large": "413 Content Too Large",
    "uri_too_long": "414 URI Too Long",
    "unsupported_media_type": "415 Unsupported Media Type",
    "idempotency_mismatch": "422 Unprocessable Content",
    "rate_limited": "429 Too Many Requests",
    "headers_too_large": "431 Request Header Fields Too Large",
    "internal_error": "500 Internal Server Error",
    "upstream_error": "502 Bad Gateway",
    "unavailable": "503 Service Unavailable",
    "upstream_timeout": "504 Gateway Timeout",
    "http_version_not_supported": "505 HTTP Version Not Supported",
}


def failure(error: AppError) -> Any:
    return orjson.loads(responses.failure(error, ORIGIN))


def test_a_success_holds_the_data_and_where_it_comes_from() -> None:
    expected = {"statusCode": 201, "data": {"id": 1}, **FROM_ORIGIN}
    assert orjson.loads(responses.success(201, {"id": 1}, ORIGIN)) == expected
    assert b'"data":{"price": 1.10},' in responses.success(200, orjson.Fragment(b'{"price": 1.10}'), ORIGIN)


@pytest.mark.parametrize("cursor", ["a-cursor", None])
def test_a_list_says_where_it_goes_on(cursor: str | None) -> None:
    expected = {"statusCode": 200, "data": [], "page": {"limit": 50, "next": cursor}, **FROM_ORIGIN}
    assert orjson.loads(responses.success(200, [], ORIGIN, Page(50, cursor))) == expected


def test_a_failure_holds_the_code_the_message_and_each_wrong_field() -> None:
    error = AppError(Code.VALIDATION_ERROR, "Not valid", details=[Detail("quantity", "Too many."), Detail("x", "No.")])
    details = [{"field": "quantity", "message": "Too many."}, {"field": "x", "message": "No."}]
    shown = {"code": "validation_error", "message": "Not valid", "details": details}
    assert failure(error) == {"statusCode": 400, "data": None, "error": shown, **FROM_ORIGIN}


@pytest.mark.parametrize("code", Code)
def test_only_the_message_of_an_internal_error_is_hidden(code: Code) -> None:
    error = failure(AppError(code, "hunter2"))["error"]
    assert set(error) == {"code", "message"}
    assert (error["code"], error["message"] == "hunter2") == (code, code is not Code.INTERNAL_ERROR)


def test_every_code_has_the_status_that_the_api_promises_and_its_phrase_on_any_version_of_python() -> None:
    found = {code: refusal(make_mocked_request("GET", "/"), AppError(code, "No")) for code in Code}
    assert {code.value: f"{response.status} {response.reason}" for code, response in found.items()} == PROMISED


def test_an_answer_of_the_services_is_recognised_as_an_envelope_of_its_status() -> None:
    whole = {"statusCode": 200, "data": {}, "traceId": "t"}
    lacking = [{key: value for key, value in whole.items() if key != name} for name in whole]
    assert responses.is_envelope(200, orjson.loads(responses.success(200, None, ORIGIN)))
    assert responses.is_envelope(404, failure(AppError(Code.NOT_FOUND, "None")))
    others: list[object] = [None, [], "text", {}, whole | {"statusCode": 201}, whole | {"traceId": 1}, *lacking]
    for content in others:
        assert not responses.is_envelope(200, content)


@pytest.mark.parametrize(
    ("path", "following", "expected"),
    [
        ("/orders", "NEXT", "/orders?cursor=NEXT"),
        ("/orders?limit=2&status=done", "NEXT", "/orders?limit=2&status=done&cursor=NEXT"),
        ("/orders?cursor=THIS&limit=2", "NEXT", "/orders?cursor=NEXT&limit=2"),
        ("/orders?cursor=THIS", None, None),
    ],
)
def test_the_next_page_has_this_address_and_its_cursor(path: str, following: str | None, expected: str | None) -> None:
    link = answer(make_mocked_request("GET", path), [], page=Page(2, following)).headers.get("Link")
    assert link == (expected and f'<{expected}>; rel="next"')


def test_an_answer_has_the_headers_of_its_handler_and_no_link_without_a_page() -> None:
    request = make_mocked_request("POST", "/orders")
    response = answer(request, {"id": 1}, status=201, headers={"Location": "/orders/1", "ETag": '"1"'})
    assert (response.status, response.headers["Location"], response.headers["ETag"]) == (201, "/orders/1", '"1"')
    assert "Link" not in response.headers
    assert isinstance(response.body, bytes)
    assert orjson.loads(response.body)["data"] == {"id": 1}


def test_a_refusal_has_the_headers_of_its_error_and_of_the_caller() -> None:
    error = AppError(Code.RATE_LIMITED, "Too many requests", retry_after=7, headers={"RateLimit": '"default";r=0;t=7'})
    response = refusal(make_mocked_request("GET", "/orders"), error, {"Allow": "GET"})
    shown = {name: response.headers.get(name) for name in ("RateLimit", "Allow", "Retry-After")}
    assert (response.status, shown) == (429, {"RateLimit": '"default";r=0;t=7', "Allow": "GET", "Retry-After": "7"})


async def test_the_security_headers_give_way_to_the_handlers_and_no_server_is_named() -> None:
    response = web.Response(headers={"Cache-Control": "max-age=60", "Server": "aiohttp"})
    await responses.on_prepare(make_mocked_request("GET", "/"), response)
    assert dict(response.headers) == {
        "Cache-Control": "max-age=60",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
