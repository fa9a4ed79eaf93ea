"""The processes of the local stack: found again, told apart from strangers, ended for certain."""

import json
import os
import shutil
import signal
import socket
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own

from tools import running
from tools.stack import logs, ports, waterfall
from tools.stack.__main__ import COMMANDS
from tools.stack.errors import StackError
from tools.stack.postgres import DataFolder
from tools.stack.processes import Command, Daemon
from tools.stack.servers import Servers
from tools.stack.services import NAMES, ROOT, environments, variables
from tools.stack.stack import Stack

WAITS = "import signal; signal.pause()"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
GREETS = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit("goodbye"))
print("hello", flush=True)
signal.pause()
"""
STARTS_ANOTHER = f"""
import pathlib, signal, sys
from tools.stack.processes import Command, Daemon
folder = pathlib.Path(sys.argv[1])
Daemon("sleeper", folder, tied=True).start(Command((sys.executable, "-c", {WAITS!r}), {{}}, folder))
print("started", flush=True)
signal.pause()
"""

Start = Callable[..., Daemon]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Runs Python code as a daemon that does not outlive the test."""
    async with AsyncExitStack() as started:

        def start(name: str, code: str, *, folder: Path = tmp_path) -> Daemon:
            daemon = Daemon(name, tmp_path, tied=True)
            started.push_async_callback(daemon.stop, signal.SIGKILL)
            arguments = (sys.executable, "-c", code, str(folder))
            daemon.start(Command(arguments, {"PYTHONPATH": str(ROOT)}, folder))
            return daemon

        yield start


async def printed(daemon: Daemon, text: str) -> None:
    async def has_printed() -> bool:
        return text in daemon.log.read_text()

    await daemon.ready(has_printed, limit=10)


async def test_a_later_run_finds_and_ends_it(start: Start, tmp_path: Path) -> None:
    daemon = start("sleeper", WAITS)
    later = Daemon("sleeper", tmp_path)

    assert later.pid == daemon.pid is not None
    await later.stop()

    assert daemon.pid is None


async def test_a_stranger_with_its_old_pid_is_left_alone(start: Start, tmp_path: Path) -> None:
    stranger = start("stranger", GREETS)
    await printed(stranger, "hello")  # start times count in 1/100 s
    daemon = start("sleeper", WAITS)
    pid = daemon.pid
    assert pid is not None
    file = tmp_path / "run" / "sleeper.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "pid": stranger.pid}))

    assert daemon.pid is None
    await daemon.stop()
    os.kill(pid, signal.SIGKILL)

    assert stranger.pid is not None


async def test_a_copy_of_the_folder_does_not_own_it(start: Start, tmp_path: Path) -> None:
    daemon = start("sleeper", WAITS)
    copy = shutil.copytree(tmp_path, tmp_path / "copy")

    await Daemon("sleeper", copy).stop()

    assert daemon.pid is not None


async def test_one_that_ignores_sigterm_is_killed(start: Start) -> None:
    daemon = start("sleeper", DEAF)
    await printed(daemon, "deaf")

    await daemon.stop(limit=0.1)

    assert daemon.pid is None


async def test_a_paused_one_can_be_stopped(start: Start) -> None:
    daemon = start("sleeper", GREETS)
    await printed(daemon, "hello")
    daemon.pause()

    await daemon.stop(limit=5)

    assert daemon.tail().endswith("goodbye")  # which SIGKILL would not have let it say


async def test_one_that_ends_while_starting_shows_the_end_of_its_log(start: Start) -> None:
    daemon = start("sleeper", "raise SystemExit('no such disk')")

    with pytest.raises(StackError, match="sleeper ended while starting") as failure:
        await printed(daemon, "ready")

    assert "no such disk" in failure.value.log


async def test_a_tied_one_ends_with_a_program_that_is_killed(start: Start, tmp_path: Path) -> None:
    program = start("program", STARTS_ANOTHER)
    await printed(program, "started")
    sleeper = Daemon("sleeper", tmp_path)
    assert sleeper.pid is not None

    program.send(signal.SIGKILL)

    assert await sleeper.ended(10)


def test_a_port_that_a_stranger_has_is_replaced_with_a_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server((ports.LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        assigned = ports.assign(tmp_path, {"gateway": port})

    assert assigned["gateway"] != port
    assert capsys.readouterr().err == f"Port {port} is taken: gateway gets {assigned['gateway']}.\n"
    assert len(set(assigned.values())) == len(ports.NAMES)


async def test_a_strangers_pid_does_not_keep_postgresql_from_starting(start: Start, tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.data.mkdir()
    lock = folder.data / "postmaster.pid"
    own, stranger = start("own", WAITS, folder=folder.data), start("stranger", WAITS)

    lock.write_text(f"{own.pid}\n{folder.data}\n")
    folder.drop_stale_lock()
    assert lock.exists()

    lock.write_text(f"{stranger.pid}\n{folder.data}\n")
    folder.drop_stale_lock()
    assert not lock.exists()


def test_the_lines_of_a_trace_come_in_time_order_from_all_services(tmp_path: Path) -> None:
    orders, gateway = tmp_path / "orders.log", tmp_path / "gateway.log"
    shared = {"level": "info", "service": "orders"}
    batch = {**shared, "timestamp": "2026-01-01T00:00:02.5Z", "event": "batch", "trace_ids": ["aa", "bb"]}
    other = {**shared, "timestamp": "2026-01-01T00:00:01Z", "event": "request", "trace_id": "bb", "note": "aa"}
    orders.write_text(f"Traceback of aa\n{json.dumps(other)}\n{json.dumps(batch)}\n")
    request = {"timestamp": "2026-01-01T00:00:01.25Z", "event": "request", "trace_id": "aa", "status": 500}
    failed = {**request, "level": "error", "service": "gateway", "exception": "Traceback:\n  it broke"}
    gateway.write_text(json.dumps(failed))

    lines = [str(line).split(maxsplit=2) for line in logs.search([orders, gateway], {"aa"})]

    assert lines == [
        ["00:00:01.250", "gateway", "error: request  status=500\n    Traceback:\n      it broke"],
        ["00:00:02.500", "orders", "batch"],
    ]


async def test_a_trace_is_looked_for_in_the_cluster_where_it_alone_is_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stack, cluster = Stack(tmp_path / "local"), tmp_path / "cluster"
    monkeypatch.setattr(running, "FILE", stack.file)
    monkeypatch.setattr(running, "CLUSTER", cluster)
    (cluster / "log").mkdir(parents=True)
    (cluster / "stack.json").touch()
    line = {"timestamp": "2026-01-01T00:00:01Z", "level": "info", "service": "orders", "event": "request"}
    (cluster / "log" / "orders-2.log").write_text(json.dumps({**line, "trace_id": "aa"}))

    await COMMANDS["logs"](stack, Namespace(identifier="aa"))

    assert capsys.readouterr().out == "00:00:01.000  orders    request\n"


def test_a_trace_becomes_steps_with_the_waits_between_them(tmp_path: Path) -> None:
    def line(second: str, service: str, event: str, level: str = "info", **fields: object) -> str:
        common = {"timestamp": f"2026-01-01T00:00:{second}Z", "level": level, "service": service, "event": event}
        return json.dumps(common | fields) + "\n"

    placed: dict[str, Any] = {"method": "POST", "path": "/orders", "status": 201}
    placing, told, products = (tmp_path / f"{name}.log" for name in ("orders-1", "orders-2", "products"))
    placing.write_text(
        line("00.100", "orders", "request", trace_id="fast", duration_ms=1, **placed)
        + line("01.500", "orders", "request", trace_id="slow", duration_ms=500, **placed)
        + line("05.000", "orders", "request", trace_id="undecided", duration_ms=1, **placed)
    )
    told.write_text(
        line("04.250", "orders", "batch handled", trace_ids=["slow", "fast"], queue="orders.stock", duration_ms=250)
    )
    products.write_text(
        line(
            "02.000", "products", "events given back", "warning", trace_id="slow", queue="products.orders", error="no"
        )
        + line("04.000", "products", "batch handled", trace_ids=["slow"], queue="products.orders", duration_ms=1000)
    )
    found = waterfall.steps(logs.search([placing, told, products], {"slow"}))
    seconds = [(step.start.timestamp() % 60, step.end.timestamp() % 60, step.service, step.what) for step in found]

    assert seconds == [
        (1.0, 1.5, "orders", "POST /orders 201"),
        (1.5, 3.0, "products", "waits in outbox and products.orders"),
        (2.0, 2.0, "products", "events given back error=no"),
        (3.0, 4.0, "products", "batch handled products.orders"),
        (4.0, 4.0, "orders", "waits in outbox and orders.stock"),
        (4.0, 4.25, "orders", "batch handled orders.stock"),
    ]
    assert [step.what for step in found if step.is_problem] == ["events given back error=no"]
    assert waterfall.slowest([told, placing]) == "fast"
    assert waterfall.slowest([products]) is None


@pytest.mark.parametrize("name", NAMES)
def test_the_stack_and_a_container_pass_on_every_setting(tmp_path: Path, name: str) -> None:
    """An empty one counts as unset, and addresses are the stack's own."""
    servers = Servers(tmp_path)
    port, passwords = dict.fromkeys(NAMES, 1), dict.fromkeys(NAMES, "")
    passed = environments(servers, passwords, port, dict.fromkeys(variables(name), "given"))[name]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    container = compose["services"][name]["environment"]

    assert set(passed) == variables(name)
    given = {setting for setting, value in passed.items() if value == "given"}
    assert given == {setting for setting, value in container.items() if f"{value}".startswith(f"${{{setting}:-")}
    unset = environments(servers, passwords, port, dict.fromkeys(variables(name), ""))[name]
    assert given & set(unset) == given & {"LINES_AND_HOLDS"}  # which both turn on
