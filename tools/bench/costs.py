"""What the processes of each part use, and what an order costs them."""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

MIB = 1024 * 1024
PEAK = re.compile(r"VmHWM:\s+(\d+) kB")


@dataclass(frozen=True)
class Usage:
    """The use of a process and its descendants."""

    cpu_seconds: float = 0.0
    """Includes the time of children that have ended and were waited for."""
    memory: int = 0
    """Bytes; a page that several processes share counts once."""
    largest: int = 0
    """Peak resident bytes of the largest single process."""
    open_files: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.cpu_seconds + other.cpu_seconds,
            self.memory + other.memory,
            max(self.largest, other.largest),
            self.open_files + other.open_files,
        )


@dataclass(frozen=True)
class Snapshot:
    """Only differences between two snapshots have a meaning, for the clock and for all CPU seconds."""

    seconds: float
    parts: dict[str, Usage]
    ended_children: float
    """CPU seconds of all programs that this one has started and waited for."""
    machine: float
    """CPU seconds during which cores were busy, added up over all cores."""


@dataclass(frozen=True)
class Cost:
    cpu_microseconds: float
    """For one order."""
    cores: float
    """How many were busy on average."""
    memory: int | None = None
    """Bytes after the run as in Usage; None for a program that has ended."""
    largest: int | None = None


@dataclass(frozen=True)
class Costs:
    parts: dict[str, Cost]
    elsewhere: float
    """Cores busy with anything else: the more they are, the less the other figures say."""

    def table(self) -> str:
        return "\n".join(line.rstrip() for line in self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{'':<18}{'CPU µs/order':>15}{'cores':>7}{'memory MiB':>12}{'largest process MiB':>21}"
        for name, cost in self.parts.items():
            memory, largest = (f"{size / MIB:.1f}" if size is not None else "" for size in (cost.memory, cost.largest))
            yield f"{name:<18}{cost.cpu_microseconds:>15.0f}{cost.cores:>7.2f}{memory:>12}{largest:>21}"
        microseconds = sum(cost.cpu_microseconds for cost in self.parts.values())
        yield f"{'together':<18}{microseconds:>15.0f}{sum(cost.cores for cost in self.parts.values()):>7.2f}"
        yield f"{'all else that ran':<18}{'':>15}{self.elsewhere:>7.2f}"


def of_run(before: Snapshot, after: Snapshot, *, orders: int, generator: str) -> Costs:
    """`generator` names the load generator, a program that was started and ended between the two snapshots."""
    seconds = after.seconds - before.seconds

    def cost(cpu_seconds: float, *memory: int) -> Cost:
        return Cost(cpu_seconds / orders * 1e6, cpu_seconds / seconds, *memory)

    parts = {
        name: cost(used.cpu_seconds - before.parts[name].cpu_seconds, used.memory, used.largest)
        for name, used in after.parts.items()
    }
    parts[generator] = cost(after.ended_children - before.ended_children)
    busy = (after.machine - before.machine) / seconds
    return Costs(parts, max(0.0, busy - sum(part.cores for part in parts.values())))


def snapshot(roots: Mapping[str, int]) -> Snapshot:
    """Takes the process ids of the parts by their names."""
    ended, machine = psutil.Process().cpu_times(), psutil.cpu_times()
    # Guest time is contained in user time already.
    busy = machine.user + machine.nice + machine.system + machine.irq + machine.softirq + machine.steal
    return Snapshot(time.monotonic(), usage(roots), ended.children_user + ended.children_system, busy)


def usage(roots: Mapping[str, int]) -> dict[str, Usage]:
    """Returns the present use of the process trees by their names; a process that has ended counts as zero."""
    return {name: sum(map(_usage, _tree(root)), Usage()) for name, root in roots.items()}


def _tree(root: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(root)
        return [process, *process.children(recursive=True)]
    return []


def _usage(process: psutil.Process) -> Usage:
    """Memory and files count as zero where the process has ended or its owner does not permit a look."""
    cpu_seconds, memory, largest, open_files = 0.0, 0, 0, 0
    with suppress(psutil.Error, OSError):
        cpu_seconds = sum(process.cpu_times()[:4])
        # psutil does not report the peak.
        largest = sum(int(size) * 1024 for size in PEAK.findall(Path(f"/proc/{process.pid}/status").read_text()))
        memory, open_files = process.memory_full_info().pss, process.num_fds()
    return Usage(cpu_seconds, memory, largest, open_files)
