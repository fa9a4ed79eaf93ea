"""Servers that stop or hang for a while, and are as before afterwards."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tools.stack.parts import Server


@asynccontextmanager
async def stopped(server: Server) -> AsyncIterator[None]:
    """Stops the server, which refuses connections until the context ends or the test starts it."""
    await server.stop()
    try:
        yield
    finally:
        await server.start()


@asynccontextmanager
async def hung(server: Server) -> AsyncIterator[None]:
    """Pauses the server's processes: the kernel accepts connections, and no request is answered."""
    assert server.daemon.pid is not None
    server.daemon.pause()
    try:
        yield
    finally:
        server.daemon.resume()
