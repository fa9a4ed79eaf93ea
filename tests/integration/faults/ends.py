"""Both ends of a link in one hand: connections through a proxy, and what arrives at each side of them."""

import asyncio
import socket
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from tools.faults.proxy import RESET_ON_CLOSE, Proxy
from tools.stack.ports import LOOPBACK

LIMIT = 10.0
MEGABYTE = 1024 * 1024


class Ends(NamedTuple):
    """Of one connection through a proxy."""

    client: socket.socket
    server: socket.socket


class Link:
    """A proxy, and a target of its own; whoever connects does so in `sockets`."""

    def __init__(self, sockets: ExitStack) -> None:
        self.sockets = sockets
        self.target = sockets.enter_context(socket.create_server((LOOPBACK, 0)))
        self.target.setblocking(False)
        self.proxy = Proxy("link", self.target.getsockname()[1])

    async def connect(self) -> socket.socket:
        client = self.sockets.enter_context(socket.socket())
        client.setblocking(False)
        async with asyncio.timeout(LIMIT):
            await asyncio.get_running_loop().sock_connect(client, (LOOPBACK, self.proxy.port))
        return client

    async def accept(self) -> socket.socket:
        async with asyncio.timeout(LIMIT):
            server, _ = await asyncio.get_running_loop().sock_accept(self.target)
        return self.sockets.enter_context(server)

    async def open(self) -> Ends:
        return Ends(await self.connect(), await self.accept())

    async def carries(self) -> None:
        """Fails the test unless a new connection carries something both ways."""
        ends = await self.open()
        await pass_on(ends.client, b"request", ends.server)
        await pass_on(ends.server, b"answer", ends.client)


async def send(end: socket.socket, payload: bytes) -> None:
    async with asyncio.timeout(LIMIT):
        await asyncio.get_running_loop().sock_sendall(end, payload)


async def receive(end: socket.socket, size: int) -> bytes:
    """Less than `size` only if the other side has ended."""
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


async def broken(end: socket.socket) -> None:
    """Returns when it is reset; fails the test if anything else arrives."""
    with pytest.raises(ConnectionResetError):
        await receive(end, 1)


def break_off(end: socket.socket) -> None:
    """The other side is reset."""
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


def nobody_knocks(target: socket.socket) -> bool:
    try:
        target.accept()[0].close()
    except BlockingIOError:
        return True
    return False


def fill(end: socket.socket) -> int:
    """The bytes that fit in before anybody reads."""
    size = 0
    try:
        while True:
            size += end.send(bytes(MEGABYTE))
    except BlockingIOError:
        return size
