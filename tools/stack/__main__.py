"""The whole system on this machine, without containers."""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tools import running
from tools.stack import demo, logs, waterfall
from tools.stack.errors import StackError
from tools.stack.parts import Part
from tools.stack.services import ROOT
from tools.stack.stack import Stack
from tools.terminal import exit_status, say

FOLDER = ROOT / ".local"
PIPE_WIDTH = 120
FIRST_REQUEST = """
  curl -s {gateway}/products -H 'Content-Type: application/json' \\
       -d '{{"name": "Desk lamp", "price": "19.90", "qty": 10}}'
"""


async def up(stack: Stack, _: argparse.Namespace) -> None:
    """start what does not run, and wait until all of it is ready"""
    started = time.monotonic()
    parts = {part.name: part for part in await stack.up()}
    for part in parts.values():
        say(f"  {part.name:<16}{shown_address(part)}")
    say(f"Ready after {time.monotonic() - started:.1f} s. A first request:")
    say(FIRST_REQUEST.format(gateway=parts["gateway"].url))


async def down(stack: Stack, _: argparse.Namespace) -> None:
    """stop it; the data stay"""
    await stack.down()
    say("Stopped; the data stay.")


async def status(stack: Stack, _: argparse.Namespace) -> None:
    """show what runs, and where"""
    rows = await stack.status()
    if not rows:
        say("Nothing was started here yet.")
    for part, state in rows:
        say(f"{part.name:<16}{part.address:<18}{part.server.daemon.pid or '':<9}{state}")


async def show_demo(stack: Stack, _: argparse.Namespace) -> None:
    """create a product, order it, follow the order through the logs"""
    described = running.load(stack.file)
    await demo.run(described.url["gateway"], described.folder)


async def show_logs(stack: Stack, options: argparse.Namespace) -> None:
    """show the log lines of one trace, in time order"""
    if not options.identifier:
        raise StackError("which one? make logs TRACE=<trace id or request id>")
    for line in lines_of(stack, options.identifier):
        say(str(line))


async def show_trace(stack: Stack, options: argparse.Namespace) -> None:
    """draw the steps of one trace, by default that of the slowest of the last thousand orders"""
    identifier = options.identifier or waterfall.slowest(logs.current(_folder(stack), ["orders"]))
    if not identifier:
        raise StackError("the log holds no order that was decided")
    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
    console.print(waterfall.waterfall(identifier, waterfall.steps(lines_of(stack, identifier))))


async def clean(stack: Stack, _: argparse.Namespace) -> None:
    """stop it and delete the data"""
    await stack.clean()


COMMANDS = {
    "up": up,
    "down": down,
    "status": status,
    "demo": show_demo,
    "logs": show_logs,
    "trace": show_trace,
    "clean": clean,
}


def lines_of(stack: Stack, identifier: str) -> list[logs.Line]:
    """Raises StackError if there is none."""
    lines = logs.search((_folder(stack) / "log").glob("*.log*"), {identifier})
    if not lines:
        raise StackError(f"no log line has the trace id or request id {identifier!r}")
    return lines


def _folder(stack: Stack) -> Path:
    """That of the stack, or of the cluster if only that is described."""
    return running.description(stack.file).parent


def shown_address(part: Part) -> str:
    """Without any password but guest's, which is RabbitMQ's default and no secret."""
    if part.url.startswith("http"):
        return part.url
    return f"{part.address}   {part.ui} (guest/guest)" if part.ui else part.address


def main(arguments: Sequence[str]) -> int:
    """The exit status: 0, 1 with a line on stderr if it cannot be done, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m tools.stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    added = {name: commands.add_parser(name, help=command.__doc__) for name, command in COMMANDS.items()}
    added["logs"].add_argument("identifier", help="a trace id or a request id")
    added["trace"].add_argument("identifier", nargs="?", help="a trace id or a request id")
    options = parser.parse_args(arguments)
    stack = Stack(FOLDER, environ=os.environ)
    return exit_status(lambda: asyncio.run(COMMANDS[options.command](stack, options)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
