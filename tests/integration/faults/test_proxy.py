"""A proxy carries everything until a fault holds, delays or breaks it."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from tests.waiting import eventually
from tools.faults.proxy import RESET_ON_CLOSE, Proxy
from tools.stack.ports import LOOPBACK

LIMIT = 10.0
MEGABYTE = 1024 * 1024
PAYLOAD = os.urandom(10 * MEGABYTE)
FAULTS: dict[str, Callable[[Proxy], None]] = {
    "reset": Proxy.reset,
    "cut": Proxy.cut,
    "stall": Proxy.stall,
    "mute": Proxy.mute,
    "lag": lambda proxy: proxy.lag(0.05),
    "cut answer": Proxy.cut_answer,
}


class Ends(NamedTuple):
    """Both sides of one connection through a proxy."""

    client: socket.socket
    server: socket.socket


class Link:
    """A proxy with a target of its own; every socket is closed with `sockets`."""

    def __init__(self, sockets: ExitStack) -> None:
        self.sockets = sockets
        self.target = sockets.enter_context(socket.create_server((LOOPBACK, 0)))
        self.target.setblocking(False)
        self.proxy = Proxy(self.target.getsockname()[1])

    async def connect(self) -> socket.socket:
        client = self.sockets.enter_context(socket.socket())
        client.setblocking(False)
        async with asyncio.timeout(LIMIT):
            await asyncio.get_running_loop().sock_connect(client, (LOOPBACK, self.proxy.port))
        return client

    async def accept(self) -> socket.socket:
        async with asyncio.timeout(LIMIT):
            server, _ = await asyncio.get_running_loop().sock_accept(self.target)
        server.setblocking(False)
        return self.sockets.enter_context(server)

    async def open(self) -> Ends:
        """A connection that has carried something: the proxy is not dialling any more."""
        client, server = await self.connect(), await self.accept()
        await pass_on(client, b"first", server)
        return Ends(client, server)

    async def carries(self) -> None:
        """Fails the test unless a new connection carries something both ways."""
        client, server = await self.open()
        await pass_on(client, b"request", server)
        await pass_on(server, b"answer", client)


async def send(end: socket.socket, payload: bytes) -> None:
    async with asyncio.timeout(LIMIT):
        await asyncio.get_running_loop().sock_sendall(end, payload)


async def receive(end: socket.socket, size: int) -> bytes:
    """Returns less than `size` only if the other side has ended."""
    received = bytearray()
    async with asyncio.timeout(LIMIT):
        while len(received) < size:
            chunk = await asyncio.get_running_loop().sock_recv(end, size - len(received))
            if not chunk:
                break
            received += chunk
    return bytes(received)


async def pass_on(source: socket.socket, payload: bytes, sink: socket.socket) -> None:
    await send(source, payload)
    assert await receive(sink, len(payload)) == payload


async def broken(*ends: socket.socket) -> None:
    """Returns when all are reset; fails the test if anything else arrives."""
    for end in ends:
        with pytest.raises(ConnectionResetError):
            await receive(end, 1)


def break_off(end: socket.socket) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    end.close()


def is_silent(end: socket.socket) -> bool:
    """Whether nothing has arrived: no byte, no end, no reset."""
    try:
        end.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False
    return False


@pytest.fixture
async def sockets() -> AsyncIterator[ExitStack]:
    with ExitStack() as sockets:
        yield sockets


@pytest.fixture
async def link(sockets: ExitStack) -> AsyncIterator[Link]:
    link = Link(sockets)
    await link.proxy.start()
    yield link
    await link.proxy.stop()


@pytest.fixture
async def settle(sockets: ExitStack) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Waits until all that can pass a link has: another link of the same loop had its turns meanwhile."""
    other = Link(sockets)
    await other.proxy.start()

    async def settle() -> None:
        for _ in range(3):
            await other.carries()

    yield settle
    await other.proxy.stop()


Settle = Callable[[], Awaitable[None]]


@pytest.mark.parametrize("answers", [False, True], ids=["requests", "answers"])
async def test_a_slow_reader_gets_all_of_it_and_then_its_end(link: Link, settle: Settle, answers: bool) -> None:
    source, sink = reversed(await link.open()) if answers else await link.open()
    sending = asyncio.create_task(send(source, PAYLOAD))
    received = bytearray()
    while len(received) < len(PAYLOAD):
        received += await receive(sink, min(MEGABYTE, len(PAYLOAD) - len(received)))
        await settle()
    await sending
    source.shutdown(socket.SHUT_WR)
    end = await receive(sink, 1)
    await pass_on(sink, b"still there", source)
    sink.shutdown(socket.SHUT_WR)

    assert received == PAYLOAD
    assert end == await receive(source, 1) == b""
    await eventually(lambda: not link.proxy.connections)


@pytest.mark.parametrize("answers", [False, True], ids=["client", "server"])
async def test_a_side_that_breaks_off_breaks_the_other(link: Link, answers: bool) -> None:
    first, second = reversed(await link.open()) if answers else await link.open()
    break_off(first)

    await broken(second)


async def test_a_target_that_is_down_breaks_the_client(link: Link) -> None:
    link.target.close()

    await broken(await link.connect())


@pytest.mark.parametrize("name", ["reset", "cut"])
async def test_reset_and_cut_break_all_connections_and_cut_refuses_new_ones(link: Link, name: str) -> None:
    ends = [*await link.open(), *await link.open()]
    FAULTS[name](link.proxy)
    await broken(*ends)
    if name == "cut":
        with pytest.raises(ConnectionRefusedError):
            await link.connect()
        await link.proxy.heal()

    await link.carries()


async def test_stall_holds_what_is_sent_and_then_delivers_it(link: Link, settle: Settle) -> None:
    client, server = await link.open()
    await pass_on(client, b"before", server)
    link.proxy.stall()
    later = await link.connect()
    for end, payload in ((client, b"request"), (server, b"answer"), (later, b"later")):
        end.send(payload)
    client.shutdown(socket.SHUT_WR)
    await settle()
    were_silent = is_silent(client), is_silent(server)
    await link.proxy.heal()

    assert were_silent == (True, True)
    assert await receive(server, 100) == b"request"
    assert await receive(client, 6) == b"answer"
    assert await receive(await link.accept(), 5) == b"later"


async def test_mute_lets_requests_through_and_no_answer_ever(link: Link, settle: Settle) -> None:
    client, server = await link.open()
    link.proxy.mute()
    later_client, later_server = await link.open()
    for source, sink in ((client, server), (later_client, later_server)):
        await pass_on(source, b"request", sink)
        sink.send(b"answer")
    await settle()
    were_silent = is_silent(client), is_silent(later_client)
    await link.proxy.heal()

    assert were_silent == (True, True)
    await broken(client, server, later_client, later_server)


def message(kind: bytes, content: bytes) -> bytes:
    """As clients of PostgreSQL send it."""
    return kind + (len(content) + 4).to_bytes(4, "big") + content


@pytest.mark.parametrize(
    ("before", "commit"),
    [
        ([], message(b"Q", b"COMMIT\0")),
        (
            [message(b"P", b"stmt_1\0WITH placed AS (INSERT INTO orders ...) ...\0\0\0")],
            message(b"B", b"\0stmt_1\0" + bytes(6)),
        ),
    ],
    ids=["of a transaction", "of a single statement"],
)
async def test_an_answer_that_is_cut_off_is_that_to_the_next_commit(
    link: Link, before: list[bytes], commit: bytes
) -> None:
    client, server = await link.open()
    other, other_server = await link.open()
    link.proxy.cut_answer()
    for innocent in (
        message(b"P", b"stmt_2\0SELECT 1 FROM orders FOR UPDATE\0\0\0"),
        message(b"B", b"\0stmt_2\0" + bytes(6)),
        *before,
        *(message(b"Q", b"BEGIN\0"), message(b"B", b"\0stmt_1\0" + bytes(6)), message(b"Q", b"ROLLBACK\0")),
    ):
        await pass_on(client, innocent, server)
        await pass_on(server, b"answer", client)
    await pass_on(client, commit, server)
    server.send(b"answer")

    await broken(client, server)
    await pass_on(other, message(b"Q", b"COMMIT\0"), other_server)
    await pass_on(other_server, b"answer", other)


@pytest.mark.parametrize("name", ["stall", "mute"])
async def test_a_held_link_does_not_show_that_the_target_is_gone(link: Link, settle: Settle, name: str) -> None:
    client, server = await link.open()
    FAULTS[name](link.proxy)
    break_off(server)
    link.target.close()
    late = await link.connect()
    for _ in range(3):
        client.send(b"request")
        late.send(b"request")
        await settle()
    were_silent = is_silent(client), is_silent(late)
    await link.proxy.heal()

    assert were_silent == (True, True)
    await broken(client, late)


async def test_lag_delays_each_way_and_keeps_the_order(link: Link) -> None:
    loop = asyncio.get_running_loop()
    client, server = await link.open()
    link.proxy.lag(0.2)
    began = loop.time()
    sending = asyncio.create_task(send(client, PAYLOAD[:MEGABYTE]))
    received = await receive(server, MEGABYTE)
    between = loop.time()
    await pass_on(server, b"answer", client)
    await sending

    assert received == PAYLOAD[:MEGABYTE]
    assert 0.2 <= between - began < 2.0  # not one chunk after the other
    assert loop.time() - between >= 0.2


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_may_be_repeated_and_healed_twice(link: Link, name: str) -> None:
    await link.open()
    for _ in range(2):
        FAULTS[name](link.proxy)
    for _ in range(2):
        await link.proxy.heal()

    await link.carries()


@pytest.mark.parametrize("name", FAULTS)
async def test_stopping_leaves_nothing_behind(sockets: ExitStack, name: str) -> None:
    link, tasks = Link(sockets), asyncio.all_tasks()
    await link.proxy.start()
    await link.open()
    client, _ = await link.open()
    FAULTS[name](link.proxy)
    await link.proxy.stop()

    with pytest.raises(ConnectionRefusedError):
        await link.connect()
    assert not link.proxy.connections
    assert asyncio.all_tasks() == tasks
    await broken(client)
