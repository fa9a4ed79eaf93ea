"""`Expect: 100-continue`: the gateway asks for a body once its head is found right."""

import json

import pytest

from gateway.keys import entry_of, make_key
from gateway.scopes import Scope
from tests.integration.gateway.behaviour import DONE, ORDER, ok
from tests.integration.gateway.opening import listening
from tests.integration.shared.web.raw import connected
from tests.integration.upstream import FakeService

BODY = json.dumps(ORDER).encode()
KEYS = entry_of("shop", make_key(), [Scope.ORDERS_WRITE])


def head(*, length: int = len(BODY), path: bytes = b"/orders", key: bytes = b"key") -> bytes:
    return (
        b"POST %s HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nIdempotency-Key: %s\r\n"
        b"Expect: 100-Continue\r\nContent-Length: %d\r\n\r\n" % (path, key, length)
    )


async def test_a_body_is_asked_for_unless_it_comes_with_its_head(port: int, orders: FakeService) -> None:
    """The connection goes on. HTTP/1.0 knows no expectations."""
    orders.respond = ok
    async with connected(port) as peer:
        for _ in range(2):
            peer.send(head())
            interim = await peer.reply()
            peer.send(BODY)
            answer = await peer.reply()
            assert (interim.status, interim.headers) == (100, {})
            assert (answer.status, answer.raw, "connection" in answer.headers) == (200, DONE, False)
        for request in (head(), head().replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"100-Continue", b"x")):
            peer.send(request + BODY)
            answer = await peer.reply()
            assert (answer.status, answer.raw) == (200, DONE)

    assert [seen.body for seen in orders.seen] == [BODY] * 4


@pytest.mark.parametrize(
    ("request_", "settings", "status"),
    [
        (head(), {"API_KEYS": KEYS}, 401),
        (head(length=99_999), {}, 413),
        (head(key=b"two words"), {}, 400),
        (head(path=b"/products/x/stock"), {}, 400),
        (head().replace(b"100-Continue", b"200-ok"), {}, 400),
    ],
    ids=["key", "length", "header", "path", "expectation"],
)
async def test_a_body_whose_head_is_refused_is_not_asked_for_and_the_connection_ends(
    orders: FakeService, request_: bytes, settings: dict[str, str], status: int
) -> None:
    async with listening(orders, **settings) as port, connected(port) as peer:
        peer.send(request_)
        answer = await peer.reply()
        rest = await peer.rest()

    assert (answer.status, answer.headers["connection"], rest) == (status, "close", b"")
    assert answer.is_envelope
