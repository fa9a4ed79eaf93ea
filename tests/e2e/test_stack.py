"""`make up`, `make status`, `make demo` and `make down`, in a folder and on ports of their own."""

import argparse
import asyncio
import json
import re
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tools import running, tour
from tools.stack.__main__ import COMMANDS
from tools.stack.errors import StackError
from tools.stack.parts import Part
from tools.stack.stack import Stack

SERVICES = {"gateway", "orders", "products"}
PARTS = {*SERVICES, "products-db", "orders-db", "products-redis", "orders-redis", "rabbitmq"}


@pytest.fixture
async def stack() -> AsyncIterator[Stack]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        stack = Stack(Path(folder) / "local", preferred_ports={})
        yield stack
        await stack.clean()


@pytest.mark.timeout(180)
async def test_a_stack_from_up_to_down(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    await run("up", stack)
    first = await parts(stack)
    described = json.loads(stack.file.read_text())
    assert set(described) == set(first) == PARTS
    assert described["rabbitmq"]["ui"] == first["rabbitmq"].ui  # where `make soak` asks for the queues

    # docs/tour.md shows what the system answers.
    page = tour.PAGE.read_text()
    assert alike(await asyncio.to_thread(tour.play, page, tour.ports_of(list(first.values())))) == alike(page)
    await run("demo", stack)

    # What died is started again, on its old port; nothing else is touched.
    before = pids(first)
    for name in ("orders", "products-redis"):
        first[name].server.daemon.send(signal.SIGKILL)
        assert await first[name].server.daemon.ended(10)
    second = {part.name: part for part in await stack.up()}
    after = pids(second)
    assert {name for name in PARTS if after[name] != before[name]} == {"orders", "products-redis"}, (before, after)
    assert {part.url for part in second.values()} == {part.url for part in first.values()}
    await run("demo", stack)

    # No command shows a password, and only the owner of the files that hold one can read them.
    await run("status", stack)
    printed = capsys.readouterr().out
    assert printed.count("GET  path=/products/") == 4  # two of each demo
    assert len(re.findall(r"orders .* path=/orders/\d+/confirm  status=200", printed)) == 2
    secrets = [stack.folder / "passwords.json", stack.folder / "postgresql.json"]
    assert not [word for file in secrets for word in json.loads(file.read_text()).values() if word in printed]
    assert {file.stat().st_mode & 0o077 for file in (*secrets, stack.file)} == {0}

    # A start that fails ends what it has started, with other settings again too, and only that.
    with pytest.raises(StackError, match="ended while starting"):
        await Stack(stack.folder, {}, {"LOG_LEVEL": "wrong"}).up()
    assert {part.name for part, state in await stack.status() if state == "down"} == SERVICES

    # A gateway with keys gets ready too, though it shows no details without one, and the tools say what they lack.
    # So do services that answer each other alone.
    closed = {"API_KEYS": f"shop {'a' * 64} orders:read", "SERVICE_SECRET": "secret-of-the-services"}
    await Stack(stack.folder, {}, closed).up()
    assert {state for _, state in await stack.status()} == {"up"}
    with pytest.raises(StackError, match="API_KEYS"):
        await running.load(stack.file).check()
    await run("down", stack)
    assert {state for _, state in await stack.status()} == {"down"}


def alike(page: str) -> str:
    """The page without what differs from run to run: times, drawn ids, and the length of a time without a fraction."""
    drawn = r"[0-9a-f]{32}|[0-9a-f-]{36}"
    return re.sub(rf"\d{{4}}-\d\d-\d\dT[\d:.]+Z|{drawn}|(?<=Date: ).*|(?<=Content-Length: ).*", "…", page)


async def run(command: str, stack: Stack) -> None:
    await COMMANDS[command](stack, argparse.Namespace())


async def parts(stack: Stack) -> dict[str, Part]:
    return {part.name: part for part, _ in await stack.status()}


def pids(parts: dict[str, Part]) -> dict[str, int | None]:
    return {name: part.server.daemon.pid for name, part in parts.items()}
