"""What an order costs each part of the system, from its use before and after a run."""

from collections.abc import Iterator
from dataclasses import dataclass

from tools.usage import Snapshot

MIB = 1024 * 1024


@dataclass(frozen=True)
class Cost:
    cpu_microseconds: float
    """For one order."""
    cores: float
    """Busy on average."""
    memory: int | None = None
    """Bytes after the run; a page that several processes share counts once. None of a program that has ended."""
    largest: int | None = None
    """Bytes that the largest single process has had resident at its peak."""


@dataclass(frozen=True)
class Costs:
    parts: dict[str, Cost]
    elsewhere: float
    """Cores busy with anything else: the more, the less the other figures say."""

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Cells of a table, its head first."""
        yield "", "CPU µs/order", "cores", "memory MiB", "largest process MiB"
        for name, cost in self.parts.items():
            memory = [f"{size / MIB:.1f}" if size is not None else "" for size in (cost.memory, cost.largest)]
            yield name, f"{cost.cpu_microseconds:.0f}", f"{cost.cores:.2f}", *memory
        each = self.parts.values()
        microseconds, cores = sum(cost.cpu_microseconds for cost in each), sum(cost.cores for cost in each)
        yield "together", f"{microseconds:.0f}", f"{cores:.2f}", "", ""
        yield "all else that ran", "", f"{self.elsewhere:.2f}", "", ""

    def table(self) -> str:
        cells = list(self.rows())
        first, *widths = [max(map(len, column)) + 2 for column in zip(*cells, strict=True)]
        lines = (
            name.ljust(first) + "".join(cell.rjust(width) for cell, width in zip(others, widths, strict=True))
            for name, *others in cells
        )
        return "\n".join(line.rstrip() for line in lines)


def of_run(before: Snapshot, after: Snapshot, *, orders: int, generator: str) -> Costs:
    """`generator` is the program that made the load, started and ended between the two."""
    seconds = after.seconds - before.seconds
    parts: dict[str, Cost] = {}
    for name, used in after.parts.items():
        cpu = used.cpu_seconds - before.parts[name].cpu_seconds
        parts[name] = Cost(cpu / orders * 1e6, cpu / seconds, used.memory, used.largest)
    cpu = after.ended_children - before.ended_children
    parts[generator] = Cost(cpu / orders * 1e6, cpu / seconds)
    busy = (after.machine - before.machine) / seconds
    return Costs(parts, max(0.0, busy - sum(cost.cores for cost in parts.values())))
