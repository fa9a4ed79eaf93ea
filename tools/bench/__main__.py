"""Measures what the system takes and what that costs: `capacity`, if no other command is named."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from ops.bounds import number, whole
from ops.errors import OpsError
from tools import running
from tools.bench import against, attacks, k6, machine, measurement, overload, pages, processes, soak
from tools.bench.measurement import Report
from tools.bench.wrk import Load
from tools.running import RunningStack
from tools.stack.errors import StackError
from tools.stack.services import NAMES
from tools.terminal import exit_status, say

SECONDS = 20
# With a number of orders as the end, the time only guards against a system that hangs.
ORDERS_SECONDS = 600

Run = Callable[[argparse.Namespace], Awaitable[Report]]


async def main(options: argparse.Namespace) -> int:
    """Returns the exit status: 1 if anything failed, was lost or grew, with the reason in the output."""
    options.machine = machine.now()
    if not options.json:
        say(str(options.machine))
    try:
        lines, passed = await options.run(options)
    except OpsError as error:
        raise StackError(str(error)) from error
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0 if passed else 1


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Each option stands behind the command that has it."""
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in {"-h", "--help"}):
        arguments = ["capacity", *arguments]
    orders, products, limits = whole(1, 1_000_000_000), whole(1, 10_000), whole(100, 100_000_000)
    on_stack, as_json = (argparse.ArgumentParser(add_help=False) for _ in range(2))
    on_stack.add_argument("--stack", type=Path, default=running.FILE, help="the description of a running stack")
    as_json.add_argument("--json", action="store_true", help="print JSON")
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description=__doc__)
    parser.set_defaults(json=False)
    commands = parser.add_subparsers(title="commands")

    def command(name: str, about: str | None, run: Run, *parents: argparse.ArgumentParser) -> Callable[..., object]:
        first_line = (about or "").partition("\n")[0]
        own = commands.add_parser(name, help=first_line, description=about, parents=parents)
        own.set_defaults(run=run)
        return own.add_argument

    option = command("capacity", capacity.__doc__, capacity, on_stack, as_json)
    option("--seconds", type=whole(1, 86_400), default=os.environ.get("SECONDS"), help=f"SECONDS, else {SECONDS}")
    option("--orders", type=orders, help="stop after so many orders instead")
    option("--products", type=products, default=10, help="over how many products the orders go (10)")
    option("--lines", type=whole(1, 100), default=1, help="how many of them each order has (1)")

    option = command("overload", overload.__doc__, lambda to: overload.measure(_stack(to), to.seconds), on_stack)
    option("--seconds", type=whole(2, 3600), default=15, help="of each step (15)")

    option = command("pages", pages.__doc__, lambda to: pages.measure(to.few, to.many, to.requests))
    option("--few", type=limits, default=1_000)
    option("--many", type=limits, default=1_000_000)
    option("--requests", type=whole(1, 1_000_000), default=300, help="for each page, of each service (300)")

    option = command(
        "processes", processes.__doc__, lambda to: processes.measure(to.services, to.percent, to.pairs, to.seconds)
    )
    option("--services", nargs="+", choices=NAMES, default=NAMES, help="which of them are held (all)")
    option("--percent", type=whole(10, 100), default=20, help="of a core, for each process (20)")
    option("--pairs", type=whole(1, 100), default=3, help="how many (3)")
    option("--seconds", type=whole(3, 3600), default=10, help="of each run (10)")

    option = command(
        "soak",
        soak.__doc__,
        lambda to: soak.measure(_stack(to), to.orders, to.products, every=to.every, file=to.samples),
        on_stack,
    )
    option("--orders", type=orders, default=1_000_000, help="how many (1,000,000)")
    option("--products", type=products, default=100, help="over how many products they go (100)")
    option("--every", type=number(0.1, 3600), default=5.0, help="seconds from one sample to the next (5)")
    option("--samples", type=Path, default=running.FILE.with_name("soak.csv"), help="the CSV file for them")

    option = command("against", against.__doc__, lambda to: against.measure(to.commit, to.pairs, to.seconds))
    option("commit")
    option("--pairs", type=whole(2, 100), default=8, help="how many (8)")
    option("--seconds", type=whole(3, 3600), default=12, help="of each run (12)")

    option = command("loadtest", k6.__doc__, lambda to: k6.measure(_stack(to), to.report.absolute()), on_stack)
    option("--report", type=Path, default=running.FILE.with_name("loadtest"), help="the folder for the report")

    option = command(
        "attacks", attacks.__doc__, lambda to: attacks.measure(to.kind, to.seconds, as_json=to.json), as_json
    )
    option("kind", nargs="?", choices=attacks.KINDS, default="all")
    option("--seconds", type=whole(2, 60), default=10, help="without the attack, and beside it (10)")
    return parser.parse_args(arguments)


async def capacity(options: argparse.Namespace) -> Report:
    """Measures how many orders a second the system takes in a closed loop, and what each costs."""
    stack = _stack(options)
    await measurement.warm_up(stack)
    seconds = options.seconds or (ORDERS_SECONDS if options.orders else SECONDS)
    result = await measurement.run(stack, Load(seconds, options.products, options.orders, lines=options.lines))
    if not options.json:
        return [*result.lines()], not result.problems
    rates = {"accepted": result.accepted_rate, "done": result.done_rate}
    figures = asdict(result) | {"rates": rates, "problems": result.problems, "machine": options.machine._asdict()}
    return [json.dumps(figures, indent=2)], not result.problems


def _stack(options: argparse.Namespace) -> RunningStack:
    return running.load(options.stack)


if __name__ == "__main__":
    arguments = parse(sys.argv[1:])
    sys.exit(exit_status(lambda: asyncio.run(main(arguments))))
