"""`Expect: 100-continue`: a body is asked for once nothing in its head speaks against it."""

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


async def test_a_body_that_is_wanted_is_asked_for_and_the_connection_goes_on(
    products: FakeService, orders: FakeService
) -> None:
    orders.respond = ok
    async with listening(products, orders) as port, connected(port) as peer:
        for _ in range(2):
            peer.send(head())
            interim = await peer.reply()
            peer.send(BODY)
            answer = await peer.reply()
            assert (interim.status, interim.headers) == (100, {})
            assert (answer.status, answer.raw, "connection" in answer.headers) == (200, DONE, False)

    assert [seen.body for seen in orders.seen] == [BODY] * 2


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
async def test_one_that_is_not_is_never_sent_and_the_connection_ends(
    products: FakeService, orders: FakeService, request_: bytes, settings: dict[str, str], status: int
) -> None:
    async with listening(products, orders, **settings) as port, connected(port) as peer:
        peer.send(request_)
        answer = await peer.reply()
        rest = await peer.rest()

    assert (answer.status, answer.headers["connection"], rest) == (status, "close", b"")
    assert answer.is_envelope


@pytest.mark.parametrize("head", [head(), head().replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"100-Continue", b"x")])
async def test_one_that_comes_with_its_head_is_not_asked_for(
    products: FakeService, orders: FakeService, head: bytes
) -> None:
    """Nor is one of HTTP/1.0, where nothing can be expected."""
    orders.respond = ok
    async with listening(products, orders) as port, connected(port) as peer:
        peer.send(head + BODY)
        answer = await peer.reply()

    assert (answer.status, answer.raw) == (200, DONE)
