"""CPU time, memory and open files of process trees, from /proc."""

import os
import resource
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICK = 1 / os.sysconf("SC_CLK_TCK")
KIB = 1024


@dataclass(frozen=True)
class Usage:
    """Of a process and all that descend from it."""

    cpu_seconds: float
    memory: int
    """Bytes; a page that several processes share counts once."""
    largest: int
    """Bytes that the largest single process has had resident at its peak."""
    open_files: int = 0


@dataclass(frozen=True)
class _Process:
    parent: int
    cpu_seconds: float


@dataclass(frozen=True)
class Snapshot:
    seconds: float
    """By a clock that only differences count of, as with all CPU seconds here."""
    parts: dict[str, Usage]
    ended_children: float
    """CPU seconds of all that this program has started and waited for."""
    machine: float
    """CPU seconds that all cores were busy."""


def snapshot(roots: Mapping[str, int]) -> Snapshot:
    """`roots`: pids by the names of the parts."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Snapshot(
        seconds=time.monotonic(),
        parts=of_trees(roots),
        ended_children=children.ru_utime + children.ru_stime,
        machine=parse_busy((PROC / "stat").read_text()),
    )


def of_trees(roots: Mapping[str, int]) -> dict[str, Usage]:
    """Now, by the names of the roots; a process that is gone counts nothing but what its parent has reaped."""
    processes = dict(_processes())
    children = defaultdict(list)
    for pid, process in processes.items():
        children[process.parent].append(pid)
    return {name: _usage(list(_tree(root, children)), processes) for name, root in roots.items()}


def parse_busy(text: str) -> float:
    """proc(5): the first line counts user, nice, system, idle, iowait, irq, softirq and steal of all cores."""
    user, nice, system, _idle, _iowait, *others = map(int, text.split("\n", 1)[0].split()[1:9])
    return (user + nice + system + sum(others)) * TICK


def _tree(root: int, children: Mapping[int, list[int]]) -> Iterator[int]:
    yield root
    for child in children.get(root, ()):
        yield from _tree(child, children)


def _usage(pids: list[int], processes: Mapping[int, _Process]) -> Usage:
    return Usage(
        cpu_seconds=sum(processes[pid].cpu_seconds for pid in pids if pid in processes),
        memory=sum(_field(pid, "smaps_rollup", "Pss") for pid in pids),
        largest=max(_field(pid, "status", "VmHWM") for pid in pids),
        open_files=sum(map(_open_files, pids)),
    )


def _processes() -> Iterator[tuple[int, _Process]]:
    for folder in PROC.glob("[0-9]*"):
        try:
            fields = parse_stat((folder / "stat").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue
        yield int(folder.name), fields


def parse_stat(text: str) -> _Process:
    """proc(5): the name may hold spaces and parentheses; the CPU times are its own and those of reaped children."""
    fields = text.rpartition(")")[2].split()
    return _Process(parent=int(fields[1]), cpu_seconds=sum(map(int, fields[11:15])) * TICK)


def _field(pid: int, file: str, name: str) -> int:
    """Bytes; 0 if the process is gone or its owner does not let us look."""
    try:
        lines = (PROC / str(pid) / file).read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    return sum(int(line.split()[1]) * KIB for line in lines if line.startswith(f"{name}:"))


def _open_files(pid: int) -> int:
    """0 if the process is gone or its owner does not let us look."""
    try:
        return sum(1 for _ in (PROC / str(pid) / "fd").iterdir())
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
