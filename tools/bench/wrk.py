"""wrk, a closed-loop load generator that costs little: each connection sends when it has its answer."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.stack import jobs, programs

SCRIPT = Path(__file__).with_name("order.lua")
# The time that wrk may need on top of its duration.
GRACE_SECONDS = 30
# The largest integer that a number in Lua holds exactly.
MOST_ORDERS = 2**53


@dataclass(frozen=True)
class Load:
    """Orders until `seconds` are over or `orders` are sent; a connection pauses `pause` milliseconds on average.

    Each order has one piece of `lines` products.
    """

    seconds: int
    products: int = 10
    orders: int | None = None
    connections: int = 64
    pause: int = 0
    lines: int = 1


@dataclass(frozen=True)
class Requests:
    """The answers that wrk counted; requests in flight at the end are not among them."""

    answers: int
    seconds: float
    failures: dict[str, int]
    latency: dict[str, float]
    """Milliseconds by percentile."""

    @property
    def accepted(self) -> int:
        return self.answers - self.failures["status"]

    @property
    def failed(self) -> int:
        return sum(self.failures.values())


async def send(load: Load, url: str, products: Sequence[int]) -> Requests:
    """Raises StackError if wrk fails."""
    command = [
        *("wrk", "--threads", "1", "--connections", str(load.connections), "--duration", f"{load.seconds}s"),
        *("--script", str(SCRIPT), f"{url}/orders"),
        *("--", str(load.orders or MOST_ORDERS), str(load.pause), str(load.lines), *map(str, products)),
    ]
    return parse(await jobs.finish("wrk", command, load.seconds + GRACE_SECONDS))


def install() -> None:
    """Raises StackError where it is missing and cannot be installed."""
    programs.install_missing({"wrk": "wrk"})


def parse(output: str) -> Requests:
    """Reads the one line of JSON that the script adds to wrk's own report."""
    measured = json.loads(next(line for line in output.splitlines() if line.startswith("{")))
    return Requests(
        answers=measured["requests"],
        seconds=measured["microseconds"] / 1e6,
        failures=measured["failures"],
        latency={name: microseconds / 1e3 for name, microseconds in measured["latency"].items()},
    )
