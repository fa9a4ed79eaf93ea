"""Sends a million orders, and samples everything that must not grow with them."""

import asyncio
import csv
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tools.bench import measurement, samples, trends
from tools.bench.measurement import Report
from tools.bench.wrk import Load
from tools.running import RunningStack
from tools.stack.errors import StackError

# Orders a second; a system that takes fewer hangs.
SLOWEST = 100
GRACE_SECONDS = 60


async def measure(stack: RunningStack, orders: int, products: int, *, every: float, file: Path) -> Report:
    """Takes a sample every so many seconds while the load runs; each is in the CSV file as soon as it is taken.

    One run of wrk sends all orders, since each end of a run leaves orders whose answer no client has seen.
    """
    taken: list[samples.Sample] = []

    async def watch(_products: Sequence[int], over: asyncio.Event) -> None:
        with file.open("w", buffering=1, newline="") as output:
            lines = csv.writer(output)
            # What a system at rest holds says little, so no sample is taken after the load.
            while not over.is_set():
                sample = await samples.take(stack)
                if not taken:
                    lines.writerow(["seconds", "newest order", *map(" ".join, sample.figures)])
                lines.writerow([sample.seconds, sample.newest_order, *sample.figures.values()])
                taken.append(sample)
                with suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), every)

    stack.require_processes()
    await stack.check()
    load = Load(orders // SLOWEST + GRACE_SECONDS, products, orders)
    result = await measurement.run(stack, load, watch)
    if result.outcome.orders < orders - load.connections:
        raise StackError(f"only {result.outcome.orders:,} orders in {load.seconds} s: {result.requests.failures}")
    found = trends.trends(taken)
    flat = all(trend.is_flat is not False for trend in found)
    return [*result.lines(), "", *trends.table(found)], flat and not result.problems
