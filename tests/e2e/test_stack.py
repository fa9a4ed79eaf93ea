"""What `make up`, `make demo` and `make down` do, in a folder and on ports of its own."""

import json
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tools import running
from tools.stack import demo
from tools.stack.errors import StackError
from tools.stack.parts import Part
from tools.stack.stack import Stack

PARTS = {
    "gateway",
    "orders",
    "products",
    "products-db",
    "orders-db",
    "products-redis",
    "orders-redis",
    "rabbitmq",
}


@pytest.fixture
async def stack() -> AsyncIterator[Stack]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        stack = Stack(Path(folder) / "local", lambda _: None, preferred_ports={})
        yield stack
        await stack.clean()


@pytest.mark.timeout(180)
async def test_a_stack_from_up_to_down(stack: Stack) -> None:
    first = by_name(await stack.up())
    described = json.loads(stack.file.read_text())
    assert set(described) == set(first) == PARTS
    assert stack.file.stat().st_mode & 0o077 == 0
    await order(stack)

    # What died is started again, on its old port; nothing else is touched.
    before = pids(first)
    for name in ("orders", "products-redis"):
        first[name].server.daemon.send(signal.SIGKILL)
        assert await first[name].server.daemon.ended(10)
    second = by_name(await stack.up())
    after = pids(second)
    assert {name for name in PARTS if after[name] != before[name]} == {"orders", "products-redis"}, (before, after)
    assert {part.url for part in second.values()} == {part.url for part in first.values()}
    await order(stack)

    # A start that fails ends what it has started, with other settings again too, and only that.
    with pytest.raises(StackError, match="ended while starting"):
        await Stack(stack.folder, lambda _: None, {}, {"LOG_LEVEL": "wrong"}).up()
    services = {"gateway", "orders", "products"}
    assert {part.name for part, state in await stack.status() if state == "down"} == services

    # A gateway with keys gets ready too, though it shows a stranger no details, and tools say what they lack.
    await Stack(stack.folder, lambda _: None, {}, {"API_KEYS": f"shop {'a' * 64} orders:read"}).up()
    assert {state for _, state in await stack.status()} == {"up"}
    with pytest.raises(StackError, match="API_KEYS"):
        await running.load(stack.file).check()
    await stack.down()
    assert {state for _, state in await stack.status()} == {"down"}


def by_name(parts: list[Part]) -> dict[str, Part]:
    return {part.name: part for part in parts}


def pids(parts: dict[str, Part]) -> dict[str, int | None]:
    return {name: part.server.daemon.pid for name, part in parts.items()}


async def order(stack: Stack) -> None:
    """Fails unless it gets done and is found in the logs of all services."""
    said: list[str] = []
    await demo.run(running.load(stack.file).url["gateway"], stack.folder, said.append)
    assert any("/orders" in line for line in said)
