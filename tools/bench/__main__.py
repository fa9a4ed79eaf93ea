"""`python -m tools.bench`: orders a second through the gateway, closed loop, and what an order costs each process."""

import argparse
import asyncio
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from ops.bounds import whole
from tools import running
from tools.bench import benchmark, machine, report
from tools.bench.benchmark import Load
from tools.running import RunningStack
from tools.stack import apt
from tools.stack.errors import StackError

SECONDS = 20
# With a number of orders as the end, the time only guards against a system that hangs.
ORDERS_SECONDS = 600
LONGEST = 86_400
MOST_ORDERS = 1_000_000_000
MOST_PRODUCTS = 10_000


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main(arguments: Sequence[str]) -> int:
    """The exit status: 1 if anything failed or was lost, with the reason in the output."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description=__doc__)
    parser.add_argument(
        "--seconds",
        type=whole(1, LONGEST),
        default=os.environ.get("SECONDS"),
        help=f"how long to order (SECONDS of the environment, {SECONDS})",
    )
    parser.add_argument("--orders", type=whole(1, MOST_ORDERS), help="stop after so many orders instead")
    parser.add_argument(
        "--products", type=whole(1, MOST_PRODUCTS), default=10, help="over how many products they go (10)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--stack", type=Path, default=running.FILE, help="the description of a running stack")
    options = parser.parse_args(arguments)
    seconds = options.seconds or (ORDERS_SECONDS if options.orders else SECONDS)
    about = machine.now()
    try:
        result = asyncio.run(measure(running.load(options.stack), Load(seconds, options.products, options.orders)))
    except StackError as error:
        sys.stderr.write(f"{error.log}\n\n" * bool(error.log) + f"{error}\n")
        return 1
    sys.stdout.write((report.as_json if options.json else report.as_text)(result, about) + "\n")
    return 1 if result.problems else 0


async def measure(stack: RunningStack, load: Load) -> benchmark.Result:
    await stack.check()
    return await benchmark.run(stack, await asyncio.to_thread(program), load, say)


def program() -> Path:
    """wrk; installed if it is missing, StackError where that is not possible."""
    if shutil.which("wrk") is None:
        apt.install(["wrk"], say)
    found = shutil.which("wrk")
    if found is None:
        raise StackError("wrk is not installed (Debian package wrk)")
    return Path(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
