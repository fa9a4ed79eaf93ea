import pytest

from shared.errors import AppError, Code


@pytest.mark.parametrize("code", Code)
def test_only_unavailable_asks_to_come_back_by_default(code: Code) -> None:
    assert AppError(code, "a message").retry_after == (1 if code is Code.UNAVAILABLE else None)
    assert [AppError(code, "a message", retry_after=seconds).retry_after for seconds in (0, 10)] == [0, 10]


def test_a_log_line_shows_what_an_error_came_of() -> None:
    error = AppError(Code.UNAVAILABLE, "No answer")
    assert repr(error) == "AppError('No answer')"
    error.__cause__ = ConnectionRefusedError(111, "refused")
    assert repr(error) == "AppError('No answer', because of ConnectionRefusedError(111, 'refused'))"
