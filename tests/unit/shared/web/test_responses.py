import re
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from shared import tracing
from shared.errors import AppError, Code, Detail
from shared.web import responses
from shared.web.responses import answer, refusal
from tests.traces import TRACE_ID, traceparent

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
    "duplicate_reference": "409 Conflict",
    "price_changed": "409 Conflict",
    "expired": "409 Conflict",
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
    "outcome_unknown": "504 Gateway Timeout",
    "http_version_not_supported": "505 HTTP Version Not Supported",
}


@pytest.fixture(autouse=True)
def trace() -> Iterator[None]:
    token = tracing.current.set(tracing.begin(traceparent()))
    yield
    tracing.current.reset(token)


def content(response: web.Response) -> Any:
    """The envelope without what every answer to GET /orders?limit=2 says of itself."""
    assert isinstance(response.body, bytes)
    whole = orjson.loads(response.body)
    assert (whole.pop("traceId"), whole.pop("path")) == (TRACE_ID, "/orders")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z", whole.pop("timestamp"))
    return whole


def failure(error: AppError) -> Any:
    return content(refusal(make_mocked_request("GET", "/orders?limit=2"), error))


def test_a_success_holds_the_data_and_where_it_comes_from() -> None:
    request = make_mocked_request("GET", "/orders?limit=2")
    assert content(answer(request, {"id": 1}, status=201)) == {"statusCode": 201, "data": {"id": 1}}
    response = answer(request, orjson.Fragment(b'{"price": 1.10}'))
    assert isinstance(response.body, bytes)
    assert b'"data":{"price": 1.10},' in response.body


def test_a_failure_holds_the_code_the_message_and_each_wrong_field() -> None:
    error = AppError(Code.VALIDATION_ERROR, "Not valid", details=[Detail("quantity", "Too many."), Detail("x", "No.")])
    details = [{"field": "quantity", "message": "Too many."}, {"field": "x", "message": "No."}]
    shown = {"code": "validation_error", "message": "Not valid", "details": details}
    assert failure(error) == {"statusCode": 400, "data": None, "error": shown}


@pytest.mark.parametrize("code", Code)
def test_only_the_message_of_an_internal_error_is_hidden(code: Code) -> None:
    error = failure(AppError(code, "hunter2"))["error"]
    assert set(error) == {"code", "message"}
    assert (error["code"], error["message"] == "hunter2") == (code, code is not Code.INTERNAL_ERROR)


def test_every_code_has_the_status_that_the_api_promises_and_its_phrase_on_any_version_of_python() -> None:
    found = {code: refusal(make_mocked_request("GET", "/"), AppError(code, "No")) for code in Code}
    assert {code.value: f"{response.status} {response.reason}" for code, response in found.items()} == PROMISED


def test_an_answer_of_the_services_is_recognised_as_an_envelope_of_its_status() -> None:
    request = make_mocked_request("GET", "/orders")
    for written in (answer(request, None), refusal(request, AppError(Code.NOT_FOUND, "None"))):
        assert isinstance(written.body, bytes)
        assert responses.is_written(written.status, written.body)
        assert not responses.is_written(500, written.body)
        assert not any(
            responses.is_written(written.status, written.body[:length]) for length in range(len(written.body))
        )
    for content in (b"null", b"{}", b'{"statusCode":200,"data":{}}', b'{"statusCode":200,"data":{"id":"7"}'):
        assert not responses.is_written(200, content)


async def test_the_security_headers_give_way_to_the_handlers_and_no_server_is_named() -> None:
    response = web.Response(headers={"Cache-Control": "max-age=60", "Server": "aiohttp"})
    await responses.on_prepare(make_mocked_request("GET", "/"), response)
    assert dict(response.headers) == {
        "Cache-Control": "max-age=60",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
