"""Compares a service in one process with the same in two, each process held to a share of a core.

So the machine is full in neither case, and the second process alone is compared. Needs root, for the cgroups.
"""

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from tools import running
from tools.bench import measurement
from tools.bench.measurement import Report
from tools.bench.wrk import Load
from tools.stack.errors import StackError
from tools.stack.stack import Stack

# Of version 1, then of version 2: the folder, and the file for microseconds in each hundredth of a second. After its
# share of the usual tenth a process would be away so long that all requests would wait for one of the two.
CGROUPS = (("/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", "{}"), ("/sys/fs/cgroup", "cpu.max", "{} 10000"))
PERIOD = 10_000
# For each process: what it has in flight decides how much its batches save, and how long a request takes.
CONNECTIONS = 32
LEAST = 1.8


async def measure(services: Sequence[str], percent: int, pairs: int, seconds: int) -> Report:
    """Of a core, each process of the named services gets `percent`; the others get what they take."""
    lines = [f"{' and '.join(services)}, {percent} % of a core for each process, {pairs} pairs of {seconds} s\n"]
    lines.append(f"{'orders done a second':<24}{'one':>10}{'two':>10}  ratio")
    ratios, passed, folder = [], True, Path(tempfile.mkdtemp())
    try:
        for pair in range(1, pairs + 1):
            rates: dict[int, float] = {}
            for count in (1, 2) if pair % 2 else (2, 1):
                stack = Stack(folder, environ={"PROCESSES": str(count)})
                await stack.up()
                system = running.load(stack.file)
                await measurement.warm_up(system)
                with held_to(percent, [pid for name in services for pid in processes(system.pids[name], count)]):
                    result = await measurement.run(system, Load(seconds, connections=CONNECTIONS * count))
                rates[count], passed = result.done_rate, passed and not result.problems
                lines += result.problems
            ratios.append(rates[2] / rates[1])
            lines.append(f"{pair:<24}{rates[1]:>10,.0f}{rates[2]:>10,.0f}{ratios[-1]:>7.2f}")
    finally:
        await Stack(folder).clean()
    lines.append(f"{'median':<44}{statistics.median(ratios):>7.2f}")
    return lines, passed and statistics.median(ratios) >= LEAST


def processes(pid: int, count: int) -> list[int]:
    """Those that work: with several, the parent of them does not."""
    return [child.pid for child in psutil.Process(pid).children()] if count > 1 else [pid]


@contextmanager
def held_to(percent: int, pids: Sequence[int]) -> Iterator[None]:
    """Each in a cgroup of its own. StackError where there are none."""
    root, file, text = next((each for each in CGROUPS if Path(each[0], "cgroup.procs").exists()), CGROUPS[0])
    groups = [Path(root, f"bench-{pid}") for pid in pids]
    try:
        for group, pid in zip(groups, pids, strict=True):
            group.mkdir()
            if (period := group / "cpu.cfs_period_us").exists():
                period.write_text(str(PERIOD))
            (group / file).write_text(text.format(PERIOD * percent // 100))
            (group / "cgroup.procs").write_text(str(pid))
        yield
    except OSError as error:
        raise StackError(f"processes cannot be held to a share of a core: {error}") from error
    finally:
        for group, pid in zip(groups, pids, strict=True):
            if group.exists():
                Path(root, "cgroup.procs").write_text(str(pid))
                group.rmdir()
