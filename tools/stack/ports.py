"""Loopback ports: the preferred one where it is free, else any that is."""

import asyncio
import secrets
import socket
from collections.abc import Container

LOOPBACK = "127.0.0.1"
# Below the kernel's range for outgoing connections (from 32768): a client that keeps dialling a server that
# is down is else given that very port as its own one day, and the server cannot come back.
FREE_RANGE = range(20_000, 32_768)
ATTEMPTS = 1_000
CONNECT_SECONDS = 2.0


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


async def listens(port: int) -> bool:
    """Whether a server accepts connections there."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    return True


def choose(*preferred: int, taken: Container[int] = ()) -> int:
    """The first preferred port that is free and not in `taken`, else a free one at random."""
    for port in preferred:
        if port not in taken and is_free(port):
            return port
    for _ in range(ATTEMPTS):
        port = secrets.choice(FREE_RANGE)
        if port not in taken and is_free(port):
            return port
    raise OSError(f"no free port between {FREE_RANGE.start} and {FREE_RANGE.stop}")
