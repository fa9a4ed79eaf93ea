import pytest
from aiohttp import web

from shared.web.connection import Connection, ServerLimits, excerpt
from shared.web.responses import on_prepare


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


async def test_no_private_name_of_aiohttp_is_taken() -> None:
    async def handle(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response()

    connection = Connection(web.Server(handle), {}, lambda _: None, ServerLimits(), on_prepare, lingering=set())
    taken = {*vars(connection), *vars(Connection)} & set(dir(web.RequestHandler))
    assert {name for name in taken if name.startswith("_") and not name.startswith("__")} == set()
