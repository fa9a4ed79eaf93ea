"""What the benchmark reads from /proc and from wrk, and what it calls a failure."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tools import costs, usage
from tools.bench import wrk
from tools.bench.benchmark import Load, Result
from tools.bench.ledger import Outcome
from tools.costs import Cost, Costs
from tools.usage import Snapshot, Usage

# Uses CPU time in a child, says so, and waits for its input to end.
CHILD = "import sys, time\nwhile time.process_time() < 0.3: pass\nprint('busy', flush=True)\nsys.stdin.read()"
PARENT = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {CHILD!r}])"

WRK_OUTPUT = """\
Running 20s test @ http://127.0.0.1:4000/orders
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    24.55ms    6.32ms  91.27ms   77.41%
Requests/sec:   2605.00
{"requests":52100,"microseconds":20000000,"failures":{"connect":1,"read":2,"write":3,"timeout":4,"status":100},\
"latency":{"p50":23000,"p90":31000,"p95":35500,"p99":42000,"max":91270}}
"""


@pytest.fixture
def parent() -> Iterator[int]:
    """A process that does nothing but wait for its busy child."""
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603  # constant
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid


def test_a_tree_counts_its_children(parent: int) -> None:
    used = usage.of_trees({"tree": parent})["tree"]
    assert used.cpu_seconds > 0.2
    assert min(used.memory, used.largest) > 1024 * 1024


def test_a_process_that_is_gone_used_nothing() -> None:
    with subprocess.Popen(["true"]) as process:  # noqa: S607  # found on PATH anywhere
        pass
    assert usage.of_trees({"gone": process.pid}) == {"gone": Usage(0, 0, 0)}


def test_a_process_name_may_hold_spaces_and_parentheses() -> None:
    stat = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 3 1 20 0 1 0 99 0"
    process = usage.parse_stat(stat)
    assert process.parent == 7
    assert process.cpu_seconds == pytest.approx(124 / os.sysconf("SC_CLK_TCK"))


def test_costs_are_for_one_order() -> None:
    before = Snapshot(100.0, {"gateway": Usage(10.0, 1, 2)}, ended_children=1.0, machine=50.0)
    after = Snapshot(108.0, {"gateway": Usage(14.0, 3, 4)}, ended_children=3.0, machine=60.0)
    parts = {"gateway": Cost(200.0, 0.5, 3, 4), "wrk": Cost(100.0, 0.25)}
    assert costs.of_run(before, after, orders=20_000, generator="wrk") == Costs(parts, elsewhere=0.5)


def test_a_machine_that_waits_is_not_busy() -> None:
    seconds = usage.parse_busy("cpu  10 20 30 4000 5000 1 2 3 0 0\ncpu0 5 10 15 2000 2500 1 1 1 0 0\n")
    assert seconds == pytest.approx(66 / os.sysconf("SC_CLK_TCK"))


def test_wrk_is_read_past_its_own_report() -> None:
    shot = wrk.parse(WRK_OUTPUT)
    assert (shot.answers, shot.accepted, shot.failed, shot.seconds) == (52_100, 52_000, 110, 20.0)
    assert shot.latency == {"p50": 23.0, "p90": 31.0, "p95": 35.5, "p99": 42.0, "max": 91.27}


GOOD = Result(
    Load(seconds=1, products=1),
    wrk.Shot(answers=10, seconds=1.0, failures={"status": 0, "timeout": 0}, latency={}),
    Outcome(done=12, rejected=0, pending=0, done_seconds=1.0, waited={}, stock_adds_up=True),
    settled=True,
    costs=Costs({}, 0.0),
)


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        (replace(GOOD, shot=replace(GOOD.shot, failures={"status": 0, "timeout": 1})), "1 requests failed"),
        (replace(GOOD, settled=False, outcome=replace(GOOD.outcome, pending=2)), "2 orders are not final after 60 s"),
        (replace(GOOD, outcome=replace(GOOD.outcome, rejected=3)), "3 orders were rejected"),
        (replace(GOOD, outcome=replace(GOOD.outcome, done=9)), "10 orders were accepted, but only 9 exist"),
        (replace(GOOD, outcome=replace(GOOD.outcome, stock_adds_up=False)), "stock does not add up"),
    ],
)
def test_a_run_fails_for_each_reason(result: Result, problem: str) -> None:
    assert result.problems == [problem]


def test_orders_in_flight_at_the_end_are_no_problem() -> None:
    assert GOOD.problems == []
