"""`python -m tools.bench.overload`: what the system does with more orders than it can take.

The capacity is measured first, closed loop; then orders come at shares and multiples of it, and a client of its own
tells what is seen of that. wrk's connections pause between their requests, so that a refusal does not bring the next
request at once.
"""

import argparse
import asyncio
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ops.bounds import whole
from tools import running, usage
from tools.bench import machine, wrk
from tools.bench.__main__ import program
from tools.bench.benchmark import SETTLE_SECONDS, STOCK, WARM_UP_SECONDS, create_products
from tools.bench.chart import Bar, bars
from tools.bench.ledger import Ledger
from tools.bench.probe import Probe, watch
from tools.running import RunningStack
from tools.stack.errors import StackError

SECONDS = 15
PRODUCTS = 10
TIMES = (0.5, 1.0, 2.0, 3.0)
# As many connections as the gateway takes, and pauses as long as that allows: so that the rate hardly depends on how
# fast the answers are.
CONNECTIONS = 1_900
LONGEST_PAUSE = 0.4
MIB = 1024 * 1024


@dataclass(frozen=True)
class Step:
    """Rates are orders a second."""

    times: float
    offered: float
    accepted: float
    probe: Probe
    connection_errors: int
    gateway_memory: int

    @property
    def p95(self) -> float:
        return percentile(self.probe.accepted, 95)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.overload", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=whole(2, 3600), default=SECONDS, help=f"of each step ({SECONDS})")
    parser.add_argument("--chart", type=Path, help="write an SVG chart there")
    parser.add_argument("--stack", type=Path, default=running.FILE, help="the description of a running stack")
    options = parser.parse_args(arguments)
    about = machine.now()
    try:
        capacity, steps = asyncio.run(measure(running.load(options.stack), options.seconds))
    except StackError as error:
        sys.stderr.write(f"{error.log}\n\n" * bool(error.log) + f"{error}\n")
        return 1
    head = f"{about.cores} cores ({about.processor}), Python {about.python}"
    sys.stdout.write("\n".join([head, *table(capacity, steps)]) + "\n")
    if options.chart:
        options.chart.write_text(draw(capacity, steps))
    return 1 if any(step.probe.broken or step.connection_errors for step in steps) else 0


async def measure(stack: RunningStack, seconds: int) -> tuple[float, list[Step]]:
    await stack.check()
    tool, gateway = await asyncio.to_thread(program), stack.url["gateway"]
    products = await create_products(gateway, PRODUCTS)
    await wrk.shoot(tool, gateway, products, WARM_UP_SECONDS)
    shot = await wrk.shoot(tool, gateway, products, seconds)
    capacity = shot.accepted / shot.seconds
    return capacity, [await step(stack, tool, capacity, times, seconds) for times in TIMES]


async def step(stack: RunningStack, tool: Path, capacity: float, times: float, seconds: int) -> Step:
    gateway, ledger = stack.url["gateway"], Ledger(stack.url["orders-db"], stack.url["products-db"])
    products = await create_products(gateway, PRODUCTS)
    rate = capacity * times
    connections = max(1, min(CONNECTIONS, int(rate * LONGEST_PAUSE)))
    shot, probe = await asyncio.gather(
        wrk.shoot(tool, gateway, products, seconds, connections=connections, pause=int(connections / rate * 1e3)),
        watch(gateway, products, seconds - 1),
    )
    memory = usage.of_trees(stack.pids)["gateway"].memory
    if not await ledger.settled(products, SETTLE_SECONDS) or not (await ledger.outcome(products, STOCK)).stock_adds_up:
        raise StackError("orders were lost, or stock does not add up")
    errors = sum(count for kind, count in shot.failures.items() if kind != "status")
    return Step(
        times,
        offered=shot.answers / shot.seconds,
        accepted=shot.accepted / shot.seconds,
        probe=probe,
        connection_errors=errors,
        gateway_memory=memory,
    )


def table(capacity: float, steps: Sequence[Step]) -> Iterator[str]:
    yield f"capacity: {capacity:,.0f} orders/s ({wrk.CONNECTIONS} connections, closed loop)"
    yield ""
    yield "offered       per s  accepted/s  of capacity  accepted p50  p95 ms  refused p50  p95 ms  broken      MiB"
    for row in steps:
        broken = len(row.probe.broken) + row.connection_errors
        yield (
            f"{row.times:>5.1f} times {row.offered:>7,.0f}{row.accepted:>12,.0f}{row.accepted / capacity:>12.0%} "
            f"{percentile(row.probe.accepted, 50):>13.1f}{row.p95:>8.1f}"
            f"{percentile(row.probe.refused, 50):>13.1f}{percentile(row.probe.refused, 95):>8.1f}{broken:>8}"
            f"{row.gateway_memory / MIB:>9.1f}"
        )


def draw(capacity: float, steps: Sequence[Step]) -> str:
    rows = [
        Bar(
            f"{row.times:g} times",
            row.accepted,
            f"{row.accepted:,.0f}/s, p95 {row.p95:.0f} ms",
        )
        for row in steps
    ]
    title = "Orders accepted, offered that many times the capacity (dashed)"
    return bars(title, rows, full=max(capacity, *(row.accepted for row in steps)), mark=capacity)


def percentile(values: Sequence[float], percent: int) -> float:
    """0 where there are none."""
    return statistics.quantiles(values, n=100)[percent - 1] if len(values) > 1 else 0.0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
