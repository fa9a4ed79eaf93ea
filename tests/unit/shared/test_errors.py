import pytest

from shared.errors import AppError, Code, Detail, invalid_field


@pytest.mark.parametrize("code", Code)
def test_only_unavailable_asks_to_come_back_by_default(code: Code) -> None:
    assert AppError(code, "a message").retry_after == (1 if code is Code.UNAVAILABLE else None)
    assert [AppError(code, "a message", retry_after=seconds).retry_after for seconds in (0, 10)] == [0, 10]


def test_a_log_line_shows_what_an_error_came_of() -> None:
    error = AppError(Code.UNAVAILABLE, "No answer")
    assert repr(error) == "AppError('No answer')"
    error.__cause__ = ConnectionRefusedError(111, "refused")
    assert repr(error) == "AppError('No answer', because of ConnectionRefusedError(111, 'refused'))"


def test_an_error_has_the_headers_and_fields_that_it_is_given() -> None:
    assert AppError(Code.UNAUTHORIZED, "a message").headers == {}
    assert AppError(Code.UNAUTHORIZED, "a message", headers={"A": "b"}).headers == {"A": "b"}
    error = invalid_field("quantity", "Too many.")
    assert (error.code, error.details) == (Code.VALIDATION_ERROR, (Detail("quantity", "Too many."),))
