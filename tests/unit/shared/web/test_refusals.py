import pytest

from shared.web.connection import excerpt


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (b"GET /orders/7?token=hunter2 HTTP/1.1", ("GET", "/orders/7")),
        (b"GET /orders", ("GET", "/orders")),
        (b"GET /" + b"a" * 95, ("GET", "/" + "a" * 63)),
        (b"GET /\x1b[31m", ("GET", "/")),
        (b"GET http://user:hunter2@host/", ("-", "-")),
        (b"password=hunter2", ("-", "-")),
        (b"\x16\x03\x01", ("-", "-")),
        (b"", ("-", "-")),
    ],
)
def test_only_method_and_path_are_shown(start: bytes, expected: tuple[str, str]) -> None:
    assert excerpt(start) == expected
