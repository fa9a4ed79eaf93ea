"""Which k6 the load test runs, and what it adds to k6's report."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from tools.costs import Cost, Costs
from tools.loadtest import k6
from tools.loadtest.report import MARK, Report
from tools.stack.errors import StackError

URL = "http://127.0.0.1:4000"
MakeProgram = Callable[[str, str], None]


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Where k6 would be built."""
    return tmp_path / "programs"


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeProgram:
    """Makes shell scripts that are all there is on PATH."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def make(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return make


def first_words(programs: Path, said: list[str]) -> list[str]:
    command = k6.command(URL, Path("/report"), said.append, programs)
    return [Path(command[0]).name, command[1]]


def test_a_k6_on_path_is_used(program: MakeProgram, programs: Path) -> None:
    program("k6", "")
    program("go", "exit 1")
    said: list[str] = []
    assert first_words(programs, said) == ["k6", "run"]
    assert said == []


def test_k6_is_built_once(program: MakeProgram, programs: Path) -> None:
    program("go", 'printf "#!/bin/sh\\n" > "$GOBIN/k6"; /bin/chmod 755 "$GOBIN/k6"')
    said: list[str] = []
    assert first_words(programs, said) == first_words(programs, said) == ["k6", "run"]
    assert len(said) == 1


def test_the_container_runs_where_k6_cannot_be_built(program: MakeProgram, programs: Path) -> None:
    program("go", "echo this Go is too old >&2; exit 1")
    program("docker", "")
    said: list[str] = []
    assert first_words(programs, said) == ["docker", "run"]
    assert "this Go is too old" in said[1]


@pytest.mark.usefixtures("program")
def test_without_any_way_to_k6_the_ways_are_named(programs: Path) -> None:
    with pytest.raises(StackError, match="k6, or Go to build it with, or Docker"):
        k6.command(URL, Path("/report"), print, programs)


def test_only_overridden_settings_reach_the_container(
    program: MakeProgram, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("docker", "")
    for name in k6.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PEAK_RATE", "500")
    command = k6.command(URL, Path("/report"), print, programs)
    told = [word for option, word in pairwise(command) if option == "--env"]
    assert told == [f"BASE_URL={URL}", "REPORT=/report", "PEAK_RATE"]


def test_an_earlier_report_does_not_pass_for_the_new_one(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("old")
    (tmp_path / "summary.json").write_text(json.dumps({"orders_accepted": {"values": {"count": 7}}}))
    report = Report(tmp_path)
    assert (report.orders, report.page.exists()) == (0, False)


def test_the_report_counts_orders_and_shows_processes(tmp_path: Path) -> None:
    report = Report(tmp_path)
    report.page.write_text(f"<p>before</p>{MARK}")
    (tmp_path / "summary.json").write_text(json.dumps({"orders_accepted": {"values": {"count": 7}}}))
    report.add_processes(Costs({"gateway": Cost(187.4, 0.5, 48 * 1024 * 1024, 64 * 1024 * 1024)}, elsewhere=0.1))
    assert report.orders == 7
    row = "<tr><td>gateway</td><td>187</td><td>0.50</td><td>48.0</td><td>64.0</td></tr>"
    assert row in report.page.read_text()
