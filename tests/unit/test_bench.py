"""What the benchmarks compute: the use of process trees, costs, failures of a run, trends, and the way to k6."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.bench import against, costs, k6, overload, processes, soak, storage, trends, wrk
from tools.bench.__main__ import parse
from tools.bench.costs import Cost, Costs, Snapshot, Usage
from tools.bench.ledger import Outcome
from tools.bench.measurement import Result
from tools.bench.samples import Kind, Sample
from tools.bench.storage import Storage, Stored
from tools.bench.trends import ROOM, SHARE, WARM_UP, Trend
from tools.running import RunningStack
from tools.stack.errors import StackError

URL = "http://127.0.0.1:4000"
# Uses CPU time and ends; its parent then starts a child that holds two files and waits for its input to end.
BUSY = "import time\nwhile time.process_time() < 0.3: pass"
HOLDER = "import os, sys\nheld = [open(os.devnull) for _ in '12']\nprint('open', flush=True)\nsys.stdin.read()"
PARENT = f"import subprocess, sys\nfor code in ({BUSY!r}, {HOLDER!r}): subprocess.run([sys.executable, '-c', code])"
GOOD = Result(
    wrk.Load(seconds=1),
    wrk.Requests(answers=10, seconds=1.0, failures={"status": 0, "timeout": 0}, latency={}),
    Outcome(done=12, rejected=0, pending=0, done_seconds=1.0, waited={}, stock_adds_up=True),
    settled=True,
    costs=Costs({}, 0.0),
    storage=Storage(0.0, 0.0, 0.0, 0.0, {}),
)


def test_a_tree_counts_living_and_ended_children() -> None:
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:  # noqa: S603  # constant
        assert parent.stdout is not None
        parent.stdout.readline()
        used = costs.usage({"tree": parent.pid})["tree"]
    assert used.cpu_seconds > 0.25  # counted in ticks of 10 ms
    assert used.open_files >= 8
    assert used.largest > 2**20 < used.memory
    assert costs.usage({"gone": parent.pid}) == {"gone": Usage()}


def test_costs_are_for_one_order() -> None:
    before = Snapshot(100.0, {"gateway": Usage(10.0, 1, 2)}, ended_children=1.0, machine=50.0)
    after = Snapshot(108.0, {"gateway": Usage(14.0, 3, 4)}, ended_children=3.0, machine=60.0)
    parts = {"gateway": Cost(200.0, 0.5, 3, 4), "wrk": Cost(100.0, 0.25)}
    assert costs.of_run(before, after, orders=20_000, generator="wrk") == Costs(parts, elsewhere=0.5)


def test_what_an_order_leaves_behind_is_for_one_order() -> None:
    before = Stored(100, 5_000, 50, 1, {"orders": 800, "outbox": 900})
    after = Stored(300, 405_000, 4_050, 3, {"orders": 20_800, "outbox": 700, "new": 200})
    assert storage.of_run(before, after) == Storage(2_000.0, 20.0, 0.01, 100.0, {"new": 1.0, "orders": 100.0})


@pytest.mark.parametrize(
    ("result", "problems"),
    [
        (GOOD, []),
        (replace(GOOD, requests=replace(GOOD.requests, failures={"status": 0, "timeout": 1})), ["1 requests failed"]),
        (replace(GOOD, settled=False), ["0 orders are not final after 60 s"]),
        (replace(GOOD, outcome=replace(GOOD.outcome, rejected=3)), ["3 orders were rejected"]),
        (replace(GOOD, outcome=replace(GOOD.outcome, done=9)), ["10 orders were accepted, but only 9 exist"]),
        (replace(GOOD, outcome=replace(GOOD.outcome, stock_adds_up=False)), ["stock does not add up"]),
    ],
)
def test_a_run_fails_for_each_reason(result: Result, problems: list[str]) -> None:
    assert result.problems == problems


def test_a_figure_is_compared_in_the_pairs_of_which_both_sides_have_it() -> None:
    first = {"done": 2.0}, {"done": 1.0, "refusal": 3.0}
    second = {"done": 2.0, "refusal": 6.0}, {"done": 1.0, "refusal": 4.0}
    _, *lines = (" ".join(line.split()) for line in against.table([first, second]))
    assert lines == ["done 2.00 2.00 to 2.00 2.0 1.0", "refusal 1.50 1.50 to 1.50 6.0 4.0"]


async def test_what_is_not_known_of_the_cluster_is_not_measured(tmp_path: Path) -> None:
    cluster = RunningStack({}, pids={})
    with pytest.raises(StackError, match="needs the local stack"):
        await overload.measure(cluster, seconds=2)
    with pytest.raises(StackError, match="needs the local stack"):
        await soak.measure(cluster, orders=1_000, products=10, every=5.0, file=tmp_path / "soak.csv")


def test_an_option_before_its_command_is_refused() -> None:
    assert parse(["--orders", "100"]).orders == parse(["soak", "--orders", "100"]).orders == 100
    with pytest.raises(SystemExit):
        parse(["--orders", "100", "soak"])


def test_without_cgroups_no_process_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "CGROUPS", ((str(tmp_path / "none"), "cpu.max", "{}"),))
    with pytest.raises(StackError, match="cannot be held"), processes.held_to(20, [1]):
        pass


def line(kind: Kind, level: float, rise: float) -> Trend:
    """A wild warm-up, then a straight line that gains `rise` until the end."""
    orders = range(0, 1_000_001, 50_000)
    values = [level + rise * (count / 1e6 - WARM_UP) / (1 - WARM_UP) for count in orders]
    wild = [level * 9, level / 9, *values[2:]]
    samples = [Sample(0.0, count, {(kind, "orders"): value}) for count, value in zip(orders, wild, strict=True)]
    [trend] = trends.trends(samples)
    return trend


@given(st.sampled_from(list(ROOM)), st.floats(0, 1e9))
def test_a_leak_is_not_flat_and_what_falls_is(kind: Kind, level: float) -> None:
    leak = 1.1 * max(ROOM[kind], SHARE * level / (1 - SHARE))
    assert line(kind, level, leak).rise == pytest.approx(leak)
    assert line(kind, level, leak).is_flat is False
    assert line(kind, level, -leak).is_flat
    assert line(kind, level, 0.8 * ROOM[kind]).is_flat
    assert line(Kind.TABLE_SIZE, level, leak).is_flat is None


def test_the_table_names_what_grows() -> None:
    samples = [
        Sample(0.0, 5 + orders, {(Kind.MEMORY, "orders"): 50 * 2**20 + orders * 20, (Kind.QUEUE, "stock"): 0})
        for orders in range(0, 1_000_001, 50_000)
    ]
    _, first, second, *_, last = trends.table(trends.trends(samples))
    assert " ".join(first.split()) == "memory, orders, MiB 50.0 51.9 69.1 69.1 +1.9 +17.2 NOT FLAT"
    assert (second.split()[-1], last) == ("flat", "not flat: memory, orders")
    with pytest.raises(StackError, match="too few samples"):
        trends.trends(samples[-2:])


def test_k6_in_a_container_gets_the_settings_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PEAK_RATE", "500")
    monkeypatch.setattr(k6, "PROGRAMS", tmp_path / "programs")
    with pytest.raises(StackError, match="k6, or Go to build it with, or Docker"):
        k6.command(URL, tmp_path)
    for name, script in {"docker": "", "go": "echo this Go is too old >&2; exit 1"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    command, _ = k6.command(URL, tmp_path)
    assert {f"--env=BASE_URL={URL}", "--env=PEAK_RATE=500", f"{tmp_path}:/report"} <= set(command)
    assert "this Go is too old" in capsys.readouterr().err


def test_a_report_of_an_earlier_run_is_not_counted(tmp_path: Path) -> None:
    (tmp_path / k6.SUMMARY).write_text('{"metrics": {"orders_accepted": {"count": 7, "rate": 0.1}}}')
    assert k6.accepted(tmp_path) == 7
    k6.delete_report(tmp_path)
    assert k6.accepted(tmp_path) == 0
