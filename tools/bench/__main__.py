"""Measures how many orders a second the system takes and what each costs, or what one of the commands says."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ops.bounds import number, whole
from tools import running
from tools.bench import against, k6, machine, measurement, overload, pages, processes, soak, wrk
from tools.bench.measurement import Report
from tools.bench.wrk import Load
from tools.running import RunningStack
from tools.stack.services import NAMES
from tools.terminal import exit_status, say_error

SECONDS = 20
# With a number of orders as the end, the time only guards against a system that hangs.
ORDERS_SECONDS = 600

Run = Callable[[argparse.Namespace], Coroutine[Any, Any, Report]]


async def main(options: argparse.Namespace) -> int:
    """Returns the exit status: 1 if anything failed, was lost or grew, with the reason in the output."""
    lines, passed = await options.run(options)
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0 if passed else 1


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    orders, products, limits = whole(1, 1_000_000_000), whole(1, 10_000), whole(100, 100_000_000)
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description=__doc__)
    parser.set_defaults(run=run_closed_loop)
    option: Callable[..., object] = parser.add_argument
    option("--stack", type=Path, default=running.FILE, help="the description of a running stack")
    option("--seconds", type=whole(1, 86_400), default=os.environ.get("SECONDS"), help=f"SECONDS, else {SECONDS}")
    option("--orders", type=orders, help="stop after so many orders instead")
    option("--products", type=products, default=10, help="over how many products the orders go (10)")
    option("--lines", type=whole(1, 100), default=1, help="how many of them each order has (1)")
    option("--json", action="store_true", help="print JSON")
    commands = parser.add_subparsers(title="commands")

    def command(name: str, run: Run, about: str | None) -> Callable[..., object]:
        own = commands.add_parser(name, help=(about or "").partition("\n")[0], description=about)
        own.set_defaults(run=run)
        return own.add_argument

    option = command("overload", run_overload, overload.__doc__)
    option("--seconds", type=whole(2, 3600), default=15, help="of each step (15)")
    option = command("pages", run_pages, pages.__doc__)
    option("--few", type=limits, default=1_000)
    option("--many", type=limits, default=1_000_000)
    option("--requests", type=whole(1, 1_000_000), default=300, help="for each page, of each service (300)")
    option = command("processes", run_processes, processes.__doc__)
    option("--services", nargs="+", choices=NAMES, default=NAMES, help="which of them are held (all)")
    option("--percent", type=whole(10, 100), default=20, help="of a core, for each process (20)")
    option("--pairs", type=whole(1, 100), default=3, help="how many (3)")
    option("--seconds", type=whole(3, 3600), default=10, help="of each run (10)")
    option = command("soak", run_soak, soak.__doc__)
    option("--orders", type=orders, default=1_000_000, help="how many (1,000,000)")
    option("--products", type=products, default=100, help="over how many products they go (100)")
    option("--every", type=number(0.1, 3600), default=5.0, help="seconds from one sample to the next (5)")
    option("--samples", type=Path, default=running.FILE.with_name("soak.csv"), help="the CSV file for them")
    option = command("against", run_against, against.__doc__)
    option("commit")
    option("--pairs", type=whole(2, 100), default=8, help="how many (8)")
    option("--seconds", type=whole(3, 3600), default=12, help="of each run (12)")
    option = command("loadtest", run_loadtest, k6.__doc__)
    option("--report", type=Path, default=running.FILE.with_name("loadtest"), help="the folder for the report")
    return parser.parse_args(arguments)


async def stack_of(options: argparse.Namespace) -> RunningStack:
    """Installs wrk too, which all loads on a running stack but k6's need."""
    stack = running.load(options.stack)
    await asyncio.to_thread(wrk.install, say_error)
    return stack


async def run_closed_loop(options: argparse.Namespace) -> Report:
    stack, about = await stack_of(options), machine.now()
    await measurement.warm_up(stack)
    seconds = options.seconds or (ORDERS_SECONDS if options.orders else SECONDS)
    result = await measurement.run(stack, Load(seconds, options.products, options.orders, lines=options.lines))
    if not options.json:
        return [str(about), *result.lines()], not result.problems
    rates = {"accepted": result.accepted_rate, "done": result.done_rate}
    figures = asdict(result) | {"rates": rates, "problems": result.problems, "machine": about._asdict()}
    return [json.dumps(figures, indent=2)], not result.problems


async def run_overload(options: argparse.Namespace) -> Report:
    about = str(machine.now())
    lines, passed = await overload.measure(await stack_of(options), options.seconds)
    return [about, *lines], passed


async def run_pages(options: argparse.Namespace) -> Report:
    return [str(machine.now()), *await pages.measure(options.few, options.many, options.requests)], True


async def run_processes(options: argparse.Namespace) -> Report:
    about = str(machine.now())
    lines, passed = await processes.measure(options.services, options.percent, options.pairs, options.seconds)
    return [about, *lines], passed


async def run_soak(options: argparse.Namespace) -> Report:
    stack, about = await stack_of(options), str(machine.now())
    lines, passed = await soak.measure(
        stack, options.orders, options.products, every=options.every, file=options.samples
    )
    return [about, *lines], passed


async def run_against(options: argparse.Namespace) -> Report:
    about = str(machine.now())
    lines, passed = await against.measure(options.commit, options.pairs, options.seconds)
    return [about, *lines], passed


async def run_loadtest(options: argparse.Namespace) -> Report:
    stack = running.load(options.stack)
    await stack.check()
    return await k6.run(stack, options.report.absolute(), say_error)


if __name__ == "__main__":
    arguments = parse(sys.argv[1:])
    sys.exit(exit_status(lambda: asyncio.run(main(arguments))))
