"""`python -m tools.loadtest`: k6's load on the running stack, and a report of it as a page."""

import argparse
import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tools import costs, running, usage
from tools.loadtest import k6
from tools.loadtest.report import Report
from tools.running import RunningStack
from tools.stack.errors import StackError
from tools.stack.services import ROOT

FOLDER = ROOT / ".local" / "loadtest"
# Only against a k6 that hangs: the load and the wait after it have limits of their own.
LIMIT_SECONDS = 3600
INTERRUPTED = 130


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """The exit status: k6's own, which is not 0 if a limit was broken; 1 if it could not run."""
    parser = argparse.ArgumentParser(prog="python -m tools.loadtest", description=__doc__)
    parser.add_argument("--stack", type=Path, default=running.FILE, help="the description of a running stack")
    parser.add_argument("--report", type=Path, default=FOLDER, help="the folder that the report goes to")
    options = parser.parse_args(arguments)
    try:
        stack = running.load(options.stack)
        asyncio.run(stack.check())
        return run(stack, Report(options.report.absolute()))
    except StackError as error:
        sys.stderr.write(f"{error.log}\n\n" * bool(error.log) + f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def run(stack: RunningStack, report: Report) -> int:
    """k6's exit status."""
    command = k6.command(stack.url["gateway"], report.folder, say)
    before = usage.snapshot(stack.pids)
    try:
        # Go's collector at its default takes CPU time from the system under test in bursts; k6 has memory to spare.
        environment = {"GOGC": "400", **os.environ}
        status = subprocess.run(  # noqa: S603  # built here
            command, env=environment, check=False, timeout=LIMIT_SECONDS
        ).returncode
    except subprocess.TimeoutExpired:
        raise StackError(f"k6 did not end within {LIMIT_SECONDS} s") from None
    after = usage.snapshot(stack.pids)
    if orders := report.orders:
        used = costs.of_run(before, after, orders=orders, generator=Path(command[0]).name)
        report.add_processes(used)
        say(used.table())
        say(f"\nReport: {report.page}")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
