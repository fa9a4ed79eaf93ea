import pytest

from shared.errors import AppError, Code, Detail, invalid_field


def test_every_code_has_the_status_that_the_api_promises() -> None:
    promised = {
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
    assert promised == {code.value: code.status for code in Code}


@pytest.mark.parametrize("code", Code)
def test_only_unavailable_asks_to_come_back_unless_told(code: Code) -> None:
    expected = 1 if code is Code.UNAVAILABLE else None
    assert expected == AppError(code, "a message").retry_after


def test_the_time_to_come_back_can_be_told() -> None:
    assert AppError(Code.UNAVAILABLE, "a message", retry_after=10).retry_after == 10
    assert AppError(Code.RATE_LIMITED, "a message", retry_after=0).retry_after == 0


def test_an_error_has_no_headers_unless_told() -> None:
    assert AppError(Code.UNAUTHORIZED, "a message").headers == {}
    assert AppError(Code.UNAUTHORIZED, "a message", headers={"A": "b"}).headers == {"A": "b"}


def test_the_refusal_of_one_field_names_it() -> None:
    error = invalid_field("quantity", "Too many.")
    expected = (Code.VALIDATION_ERROR, 400, (Detail("quantity", "Too many."),))
    assert expected == (error.code, error.status, error.details)
