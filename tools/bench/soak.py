"""`python -m tools.bench.soak`: a million orders, and whether anything that must not grow with them does."""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ops.bounds import number, whole
from tools import costs, running, usage
from tools.bench import machine, report, sampler, samples, soak_report, trends, wrk
from tools.bench.__main__ import MOST_ORDERS, MOST_PRODUCTS, program, say
from tools.bench.benchmark import SETTLE_SECONDS, STOCK, Load, Result, create_products
from tools.bench.ledger import Ledger
from tools.bench.sampler import Sampler
from tools.bench.samples import Sample
from tools.running import RunningStack
from tools.stack.errors import StackError
from tools.stack.jobs import together

ORDERS = 1_000_000
PRODUCTS = 100
EVERY_SECONDS = 5.0
# Orders a second; a system that takes fewer hangs.
SLOWEST = 100
GRACE_SECONDS = 60
# How often a run tells how far it is.
TOLD = 20

Keep = Callable[[Sample], None]


@dataclass(frozen=True)
class Plan:
    """`every`: seconds from a sample to the next."""

    orders: int
    products: int
    every: float

    @property
    def load(self) -> Load:
        return Load(self.orders // SLOWEST + GRACE_SECONDS, self.products, self.orders)


@dataclass(frozen=True)
class Soaked:
    samples: list[Sample]
    problems: list[str]


def main(arguments: Sequence[str]) -> int:
    """The exit status: 1 if anything grew, failed or was lost, with the reason in the output."""
    options = parse(arguments)
    try:
        soaked = Soaked(read(options.again), []) if options.again else soak(options)
        found = trends.trends(soaked.samples)
    except StackError as error:
        sys.stderr.write(f"{error.log}\n\n" * bool(error.log) + f"{error}\n")
        return 1
    sys.stdout.write(f"{soak_report.as_text(found)}\n")
    if options.chart:
        options.chart.write_text(soak_report.as_chart(found))
    return 1 if soaked.problems or any(row.is_flat is False for row in found) else 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.soak", description=__doc__.partition(": ")[2])
    parser.add_argument("--orders", type=whole(1, MOST_ORDERS), default=ORDERS, help=f"how many ({ORDERS:,})")
    parser.add_argument(
        "--products",
        type=whole(1, MOST_PRODUCTS),
        default=PRODUCTS,
        help=f"over how many products they go ({PRODUCTS})",
    )
    parser.add_argument(
        "--every", type=number(0.1, 3600), default=EVERY_SECONDS, help=f"seconds to a sample ({EVERY_SECONDS:g})"
    )
    parser.add_argument("--samples", type=Path, help="write them there (soak.jsonl beside the stack's description)")
    parser.add_argument("--again", type=Path, metavar="SAMPLES", help="judge those of an earlier run, order nothing")
    parser.add_argument("--chart", type=Path, help="write an SVG chart there")
    parser.add_argument("--stack", type=Path, default=running.FILE, help="the description of a running stack")
    return parser.parse_args(arguments)


def read(file: Path) -> list[Sample]:
    """StackError if it holds anything else."""
    try:
        return [samples.parse(line) for line in file.read_text().splitlines()]
    except (OSError, ValueError, KeyError) as error:
        raise StackError(f"{file} holds no samples: {error!r}") from error


def soak(options: argparse.Namespace) -> Soaked:
    """Prints the run itself; the samples are on disk as soon as they are taken."""
    stack, about = running.load(options.stack), machine.now()
    management = json.loads(options.stack.read_text())["rabbitmq"]["ui"]
    plan = Plan(options.orders, options.products, options.every)
    taken: list[Sample] = []
    with (options.samples or options.stack.with_name("soak.jsonl")).open("w", buffering=1) as file:

        def keep(sample: Sample) -> None:
            file.write(f"{samples.as_line(sample)}\n")
            taken.append(sample)

        result = asyncio.run(run(stack, management, plan, keep))
    sys.stdout.write(f"{report.as_text(result, about)}\n\n")
    return Soaked(taken, result.problems)


async def run(stack: RunningStack, management: str, plan: Plan, keep: Keep) -> Result:
    """One wrk for all of it: each end of one leaves orders that no client has an answer for."""
    await stack.check()
    tool, gateway, load = await asyncio.to_thread(program), stack.url["gateway"], plan.load
    ledger = Ledger(stack.url["orders-db"], stack.url["products-db"])
    products = await create_products(gateway, plan.products)
    shots: list[wrk.Shot] = []
    over = asyncio.Event()

    async def order() -> None:
        shots.append(await wrk.shoot(tool, gateway, products, load.seconds, load.orders))
        over.set()

    async with sampler.opened(stack, management) as measured:
        keep(await measured.take())
        before = usage.snapshot(stack.pids)
        await together(order(), record(measured, over, plan, keep))
    settled = await ledger.settled(products, SETTLE_SECONDS)
    after = usage.snapshot(stack.pids)
    outcome = await ledger.outcome(products, STOCK)
    if outcome.orders < plan.orders - wrk.CONNECTIONS:
        raise StackError(f"only {outcome.orders:,} orders in {load.seconds} s: {shots[0].failures}")
    used = costs.of_run(before, after, orders=outcome.orders, generator="wrk")
    return Result(load, shots[0], outcome, settled, used)


async def record(measured: Sampler, over: asyncio.Event, plan: Plan, keep: Keep) -> None:
    """Until the load is over: what a system at rest holds says little."""
    told = 0
    while not await passes(over, plan.every):
        sample = await measured.take()
        keep(sample)
        if (part := sample.orders * TOLD // plan.orders) > told:
            told = part
            say(f"{sample.orders:>11,} orders after {sample.seconds:,.0f} s")


async def passes(over: asyncio.Event, seconds: float) -> bool:
    """Whether it happens within so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            return await over.wait()
    except TimeoutError:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
