"""The system on servers that fail over: every node in a network namespace of its own, on this machine."""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence

from tools.cluster import faults
from tools.cluster.cluster import PACKAGES, Cluster
from tools.stack import programs
from tools.stack.errors import StackError
from tools.terminal import exit_status, say

COMMANDS = {
    "up": "start what does not run, and wait until all of it is ready",
    "status": "show what runs, and who is the primary",
    "down": "stop it; the data stay",
    "clean": "kill it and delete the data",
}


async def run(options: argparse.Namespace) -> int:
    started, command = time.monotonic(), options.command
    if command in {"up", "faults"}:
        await asyncio.to_thread(programs.install_missing, programs.PACKAGES | PACKAGES)
    cluster = Cluster()
    if command == "faults":
        return await faults.run(cluster, options)
    if command != "status":
        await {"up": cluster.up, "down": cluster.down, "clean": cluster.clean}[command]()
    if command in {"up", "status"}:
        for node, state, role in await cluster.status():
            say(f"{node.name:<18}{node.address:<14}{len(node.pids()):>3} processes   {state:<6}{role}".rstrip())
    say(f"{command}: {time.monotonic() - started:.1f} s, {cluster.gateway_url}")
    return 0


def main(arguments: Sequence[str]) -> int:
    """The exit status: 0, 1 with a line on stderr if it cannot be done, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m tools.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in COMMANDS.items():
        commands.add_parser(name, help=text)
    faults.add_options(commands.add_parser("faults", help="start it, and break it in every way, under load"))
    options = parser.parse_args(arguments)
    if os.geteuid() != 0:
        raise StackError("network namespaces need root: sudo make cluster")
    return asyncio.run(run(options))


if __name__ == "__main__":
    sys.exit(exit_status(lambda: main(sys.argv[1:])))
