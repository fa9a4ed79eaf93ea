"""Loopback ports: chosen once, and kept from one run of the local stack to the next."""

import asyncio
import json
import os
import secrets
import socket
from collections.abc import Container, Iterable, Mapping
from pathlib import Path

from tools.stack.processes import Daemon
from tools.terminal import say_error

LOOPBACK = "127.0.0.1"
PREFERRED = {
    "gateway": 4000,
    "products": 3001,
    "orders": 3002,
    "postgresql": 5442,
    "products-redis": 6391,
    "orders-redis": 6392,
    "rabbitmq": 5672,
    "rabbitmq-ui": 15672,
}
# No user needs to remember the last two.
NAMES = (*PREFERRED, "epmd", "erlang-distribution")
OF_RABBITMQ = ("rabbitmq", "rabbitmq-ui", "epmd", "erlang-distribution")
# The process that listens on a port, where it has another name than the port.
LISTENER = {"rabbitmq-ui": "rabbitmq", "erlang-distribution": "rabbitmq"}
# Below the kernel's range for outgoing connections (from 32768): a client that keeps dialling a server that
# is down is else given that very port as its own one day, and the server cannot come back.
FREE_RANGE = range(20_000, 32_768)
# A chosen port is free until its server starts, so processes side by side choose from different ones.
PROCESSES = 64
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
    own = FREE_RANGE[os.getpid() % PROCESSES :: PROCESSES]
    for port in (*preferred, *(secrets.choice(own) for _ in range(ATTEMPTS))):
        if port not in taken and is_free(port):
            return port
    raise OSError(f"no free port between {FREE_RANGE.start} and {FREE_RANGE.stop}")


def choose_each(names: Iterable[str]) -> dict[str, int]:
    """A free port for each name, no two alike."""
    chosen: dict[str, int] = {}
    for name in names:
        chosen[name] = choose(taken=chosen.values())
    return chosen


def load(folder: Path) -> dict[str, int]:
    """The ports of the last run; empty if there was none."""
    path = folder / "ports.json"
    assigned: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
    return assigned if set(assigned) == set(NAMES) else {}


def assign(folder: Path, preferred: Mapping[str, int]) -> dict[str, int]:
    """A running part keeps its port, and so does, while any part runs, one that is to be started beside it."""
    last = load(folder)
    running = {name for name in last if Daemon(LISTENER.get(name, name), folder).pid}
    assigned = {name: last[name] for name in running}
    for name in NAMES:
        if name not in running:
            wanted = [port for port in (last.get(name) if running else None, preferred.get(name)) if port]
            assigned[name] = choose(*wanted, taken=assigned.values())
            if wanted and assigned[name] not in wanted:
                say_error(f"Port {wanted[0]} is taken: {name} gets {assigned[name]}.")
    (folder / "ports.json").write_text(json.dumps(assigned, indent=2))
    return assigned
