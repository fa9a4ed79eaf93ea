"""Breaks the system on purpose for a while and judges whether it kept its promises. Exit status 1 if it did not."""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence

from ops.bounds import number, whole
from tools.faults import report, scenario
from tools.faults.plan import Kind
from tools.faults.round import Round, play
from tools.faults.system import System
from tools.terminal import exit_status, say

MINUTES = 5.0
SECONDS = 45.0
RATE = 60.0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.faults", description=__doc__)
    parser.add_argument(
        "--minutes", type=number(0.01, 10_080), default=MINUTES, help=f"begin rounds for so long ({MINUTES:g})"
    )
    parser.add_argument(
        "--seed", type=whole(0, 10**12), default=1, help="of the first round, the next ones count on (1)"
    )
    parser.add_argument("--rounds", type=whole(1, 100_000), help="play so many, however long it takes")
    parser.add_argument("--seconds", type=number(1, 3600), default=SECONDS, help=f"of a round ({SECONDS:g})")
    parser.add_argument("--rate", type=number(0.1, 10_000), default=RATE, help=f"operations a second ({RATE:g})")
    parser.add_argument("--kinds", nargs="+", type=Kind, default=list(Kind), help="break only these ways (all)")
    return parser.parse_args(arguments)


async def run(options: argparse.Namespace) -> int:
    """Plays round after round and reports each as soon as it is over, then all. Raises StackError."""
    rounds: list[Round] = []
    async with System() as system:
        until = time.monotonic() + options.minutes * 60
        kinds = [kind for kind in options.kinds if kind is not Kind.CLOCK or system.can_jump]
        while len(rounds) < options.rounds if options.rounds else time.monotonic() < until:
            plan = scenario.draw(options.seed + len(rounds), options.seconds, kinds, rate=options.rate)
            rounds.append(await play(system, plan))
            say(report.story(rounds[-1]))
    say(report.table(rounds))
    return status(rounds)


def status(rounds: Sequence[Round]) -> int:
    """1 if a promise was not kept, or none was put to the test."""
    return 0 if rounds and not any(played.differences for played in rounds) else 1


if __name__ == "__main__":
    options = parse(sys.argv[1:])
    sys.exit(exit_status(lambda: asyncio.run(run(options))))
