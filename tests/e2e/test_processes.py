"""A service in several processes, of which a parent takes care."""

import itertools
import json
import signal
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import psutil
import pytest

from tests.api import Api
from tests.e2e.ordering import assert_nothing_was_lost_or_doubled, ordering
from tests.e2e.programs import program
from tests.e2e.system import System
from tests.e2e.test_start import DEAD
from tests.waiting import eventually, reaches
from tools.stack import ports
from tools.stack.http import call

TWO = {"PROCESSES": "2"}
UNASKED = "process ended unasked"


def two_free_ports() -> tuple[int, int]:
    """One after the other."""
    return next((port, port + 1) for port in iter(ports.choose, 0) if ports.is_free(port + 1))


@pytest.mark.parametrize("name", ["products", "orders", "gateway"])
async def test_a_child_that_is_killed_under_load_is_followed_by_another_and_nothing_is_lost(
    api: Api, system: System, name: str
) -> None:
    service, admin_ports = system.services[name], two_free_ports()
    await service.stop()
    environment = {**system.environments[name], **TWO, "ADMIN_PORT": str(admin_ports[0])}

    async with program(name, environment=environment) as parent:
        await reaches(lambda: ready(admin_ports), [200, 200], within=30)
        first, second = psutil.Process(parent.pid).children()
        async with ordering(api) as orders:
            await orders.accepts(30)
            first.kill()
            await reaches(lambda: len({*psutil.Process(parent.pid).children()} - {first, second}), 1)
            await orders.accepts(30)
        await reaches(lambda: ready(admin_ports), [200, 200], within=30)
        parent.send_signal(signal.SIGTERM)
        ended = await parent.outcome()
        await service.start()

    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    [about_first] = [line for line in lines if line["event"] == UNASKED]
    stopped = sorted(line["process"] for line in lines if line["event"] == "stopped")
    assert (about_first["pid"], about_first["exit_status"]) == (first.pid, -signal.SIGKILL)
    assert (ended.status, ended.stderr, stopped) == (0, "", ["0", "1"])
    assert not psutil.pid_exists(second.pid)
    await assert_nothing_was_lost_or_doubled(system, orders)


async def ready(admin_ports: Sequence[int]) -> list[int]:
    """What each child says of itself; 0 if it does not answer."""
    answers = []
    for port in admin_ports:
        try:
            answers.append((await call("GET", f"http://127.0.0.1:{port}/health/ready")).status)
        except OSError:
            answers.append(0)
    return answers


async def test_children_die_with_their_parent() -> None:
    port = ports.choose()
    async with program("gateway", environment={**DEAD, **TWO, "PORT": str(port)}) as parent:
        await eventually(lambda: ports.listens(port), within=20)
        await reaches(lambda: len(psutil.Process(parent.pid).children()), 2)
        parent.send_signal(signal.SIGKILL)

        await reaches(lambda: ports.listens(port), False)


async def test_a_child_that_fails_again_and_again_is_started_ever_more_rarely(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def failures() -> list[datetime]:
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        unasked = [line for line in lines if line["event"] == UNASKED and line["process"] == "0"]
        return [datetime.fromisoformat(line["timestamp"]) for line in unasked]

    with log.open("wb") as file:
        environment = {**DEAD, **TWO, "PORT": "0"}
        async with program("tests.e2e.ending", "gateway", environment=environment, stdout=file.fileno()) as parent:
            await eventually(lambda: len(failures()) >= 3, within=45)
            parent.send_signal(signal.SIGTERM)
            await parent.outcome()

    first, second = [later - earlier for earlier, later in itertools.pairwise(failures())][:2]
    assert first > timedelta(seconds=0.3)
    assert second > timedelta(seconds=0.7)
