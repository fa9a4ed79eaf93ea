"""The system on servers that fail over: every node in a network namespace of its own, on this machine."""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence

from tools.cluster.cluster import FOLDER, PACKAGES, Cluster
from tools.stack import demo, programs
from tools.stack.errors import StackError
from tools.terminal import exit_status, say


async def up(cluster: Cluster) -> None:
    """start what does not run, and wait until all of it is ready"""
    started = time.monotonic()
    await cluster.up()
    await status(cluster)
    say(f"Ready after {time.monotonic() - started:.1f} s at {cluster.gateway_url}. Two orders: make demo")


async def down(cluster: Cluster) -> None:
    """stop it; the data stay"""
    await cluster.down()
    say("Stopped; the data stay.")


async def status(cluster: Cluster) -> None:
    """show what runs, and who is the primary"""
    for node, state, role in await cluster.status():
        say(f"{node.name:<18}{node.address:<14}{len(node.pids()):>3} processes   {state:<6}{role}".rstrip())


async def show_demo(cluster: Cluster) -> None:
    """create a product, order it, follow the order through the logs"""
    await demo.run(cluster.gateway_url, FOLDER, say)


async def clean(cluster: Cluster) -> None:
    """kill it and delete the data"""
    await cluster.clean()


COMMANDS = {"up": up, "down": down, "status": status, "demo": show_demo, "clean": clean}


async def run(command: str) -> None:
    if os.geteuid() != 0:
        raise StackError("network namespaces need root: sudo make cluster")
    if command == "up":
        await asyncio.to_thread(programs.install_missing, say, programs.PACKAGES | PACKAGES)
    await COMMANDS[command](Cluster())


def main(arguments: Sequence[str]) -> int:
    """The exit status: 0, 1 with a line on stderr if it cannot be done, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m tools.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.__doc__)
    options = parser.parse_args(arguments)
    return exit_status(lambda: asyncio.run(run(options.command)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
