"""Measures the commit that is checked out and another one in turn, each time on a new system, and compares them.

The load is the same: that of the commit that is checked out.
"""

import random
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools import running
from tools.bench import measurement, overload
from tools.bench.measurement import Report, Result
from tools.bench.wrk import Load
from tools.stack.jobs import finish
from tools.stack.services import NAMES, ROOT
from tools.terminal import say_error

# Seconds: for pip, and for starting or ending a system.
_INSTALL, _AROUND = 900.0, 180.0
_DRAWS = 5_000

Figures = dict[str, float]


async def measure(other: str, pairs: int, seconds: int) -> Report:
    """`other` is a commit by any name that git knows. Raises StackError if one of the two cannot be measured."""
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            trees = [Path(folder, name) for name in ("here", "other")]
            for tree, commit in zip(trees, ("HEAD", other), strict=True):
                await finish("git", ("git", "worktree", "add", "--detach", str(tree), commit), 60.0, folder=ROOT)
            for tree in trees:
                await finish("make venv", ("make", "venv"), _INSTALL, folder=tree)
            found = []
            for number in range(pairs):
                first, second = trees if number % 2 else reversed(trees)
                found.append({first: await run(first, seconds), second: await run(second, seconds)})
                say_error(f"pair {number + 1} of {pairs}")
    finally:
        await finish("git", ("git", "worktree", "prune"), 60.0, folder=ROOT)
    title = f"HEAD against {other}, {pairs} pairs of {seconds} s"
    return [title, *table([(pair[trees[0]], pair[trees[1]]) for pair in found])], True


async def run(tree: Path, seconds: int) -> Figures:
    """The figures of one system without data: in a closed loop, under half and three times that load, and alone."""
    python = str(tree / ".venv" / "bin" / "python")
    try:
        await finish("make up", ("make", "up"), _AROUND, folder=tree)
        stack = running.load(tree / running.FILE.relative_to(ROOT))
        await measurement.warm_up(stack)
        full = await measurement.run(stack, Load(seconds))
        half = await measurement.run(stack, Load(seconds // 2, pause=75))
        alone = await measurement.run(stack, Load(seconds // 4, connections=1, pause=50))
        over = await overload.step(stack, full.accepted_rate, 3.0, seconds // 2)
    finally:
        await finish("tools.stack clean", (python, "-m", "tools.stack", "clean"), _AROUND, folder=tree)
    served, with_refusals = _of_services(full), _of_services(over.result)
    figures = {
        "orders done": full.done_rate,
        "the three services, CPU": served,
        **{f"{name}, CPU": cost.cpu_microseconds for name, cost in full.costs.parts.items()},
        **{f"answer, {name}": value for name, value in full.requests.latency.items()},
        **{f"final, {name}": value for name, value in full.outcome.waited.items()},
        "WAL bytes": full.storage.wal_bytes,
        "WAL records": full.storage.wal_records,
        "bytes on disk": full.storage.disk_bytes,
        "half load, orders done": half.done_rate,
        "half load, answer, p95": half.requests.latency["p95"],
        "half load, final, p95": half.outcome.waited["p95"],
        "alone, answer, p50": alone.requests.latency["p50"],
        "alone, final, p50": alone.outcome.waited["p50"],
        "overload, accepted": over.result.accepted_rate,
        "overload, accepted, p95": overload.percentile(over.probe.accepted, 95),
    }
    if refused := over.result.requests.failed:
        figures["overload, a refusal, CPU"] = (with_refusals - served) * over.result.outcome.orders / refused
    return figures


def _of_services(result: Result) -> float:
    """Microseconds of CPU for each order."""
    return sum(result.costs.parts[name].cpu_microseconds for name in NAMES)


def table(pairs: Sequence[tuple[Figures, Figures]]) -> Iterator[str]:
    """The median of the pairs' ratios, its 95 % interval by bootstrap, and the medians of both sides.

    A figure counts in the pairs of which both sides have it.
    """
    yield f"{'':<26}{'ratio':>7}{'95 %':>14}{'here':>10}{'there':>10}"
    for name in dict.fromkeys(name for pair in pairs for figures in pair for name in figures):
        both = [(here[name], there[name]) for here, there in pairs if name in here and there.get(name)]
        if not both:
            continue
        here, there = zip(*both, strict=True)
        ratios = [mine / other for mine, other in both]
        drawn = random.Random(1)  # noqa: S311  # a sample, not a secret
        medians = [statistics.median(drawn.choices(ratios, k=len(ratios))) for _ in range(_DRAWS)]
        low, *_, high = statistics.quantiles(medians, n=40)
        between = f"{low:.2f} to {high:.2f}"
        medians_of_both = f"{statistics.median(here):>10,.1f}{statistics.median(there):>10,.1f}"
        yield f"{name:<26}{statistics.median(ratios):>7.2f}{between:>14}{medians_of_both}"
