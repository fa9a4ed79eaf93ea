"""Servers that stop or hang for a while, and are as before afterwards."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tools.stack.parts import Server


@asynccontextmanager
async def stopped(server: Server) -> AsyncIterator[None]:
    """Refuses connections until the context ends or the test starts it."""
    await server.stop()
    try:
        yield
    finally:
        await server.start()


@asynccontextmanager
async def hung(server: Server) -> AsyncIterator[None]:
    """Its processes are there and do nothing: connections are accepted by the kernel, and never answered."""
    processes = _family(server.daemon.pid)
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in processes:
            with suppress(ProcessLookupError):  # a child that was about to end does so as soon as its parent runs
                os.kill(pid, signal.SIGCONT)


def _family(pid: int | None) -> list[int]:
    """The process before its children, so that it starts no new one in between."""
    if pid is None:
        raise LookupError("the server does not run")
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
