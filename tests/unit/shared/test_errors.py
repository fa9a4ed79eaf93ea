import pytest

from shared.errors import AppError, Code, Detail, invalid_field

PROMISED = {
    "invalid_json": 400,
    "validation_error": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "conflict": 409,
    "precondition_failed": 412,
    "payload_too_large": 413,
    "uri_too_long": 414,
    "unsupported_media_type": 415,
    "idempotency_mismatch": 422,
    "rate_limited": 429,
    "headers_too_large": 431,
    "internal_error": 500,
    "upstream_error": 502,
    "unavailable": 503,
    "upstream_timeout": 504,
    "http_version_not_supported": 505,
}


def test_every_code_has_the_status_that_the_api_promises() -> None:
    assert {code.value: code.status for code in Code} == PROMISED


@pytest.mark.parametrize("code", Code)
def test_only_unavailable_asks_to_come_back_by_default(code: Code) -> None:
    assert AppError(code, "a message").retry_after == (1 if code is Code.UNAVAILABLE else None)
    assert [AppError(code, "a message", retry_after=seconds).retry_after for seconds in (0, 10)] == [0, 10]


def test_an_error_has_the_headers_and_fields_that_it_is_given() -> None:
    assert AppError(Code.UNAUTHORIZED, "a message").headers == {}
    assert AppError(Code.UNAUTHORIZED, "a message", headers={"A": "b"}).headers == {"A": "b"}
    error = invalid_field("quantity", "Too many.")
    assert (error.code, error.details) == (Code.VALIDATION_ERROR, (Detail("quantity", "Too many."),))
