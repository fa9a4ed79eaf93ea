"""wrk, a closed-loop load generator that costs little: each connection sends when it has its answer."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.stack import jobs

SCRIPT = Path(__file__).with_name("order.lua")
CONNECTIONS = 64
# What wrk may need on top of its duration.
GRACE_SECONDS = 30
# Of a number in Lua.
MOST_ORDERS = 2**53


@dataclass(frozen=True)
class Shot:
    """What wrk saw; a request that was in flight at the end is not in it."""

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


async def shoot(
    program: Path,
    url: str,
    products: Sequence[int],
    seconds: int,
    orders: int | None = None,
    *,
    connections: int = CONNECTIONS,
    pause: int = 0,
) -> Shot:
    """Orders until `seconds` are over or `orders` are sent; each connection pauses `pause` milliseconds on average."""
    command = [
        *(str(program), "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"),
        *("--script", str(SCRIPT), f"{url}/orders"),
        *("--", str(orders or MOST_ORDERS), str(pause), *map(str, products)),
    ]
    return parse(await jobs.finish("wrk", command, seconds + GRACE_SECONDS))


def parse(output: str) -> Shot:
    """From the one line of JSON that the script adds to wrk's own report."""
    line = next(line for line in output.splitlines() if line.startswith("{"))
    measured = json.loads(line)
    return Shot(
        answers=measured["requests"],
        seconds=measured["microseconds"] / 1e6,
        failures=measured["failures"],
        latency={name: microseconds / 1e3 for name, microseconds in measured["latency"].items()},
    )
