"""The whole system on this machine, without containers."""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Sequence

from tools.stack import demo, logs
from tools.stack.errors import StackError
from tools.stack.parts import Part
from tools.stack.services import ROOT
from tools.stack.stack import Stack

FOLDER = ROOT / ".local"
FIRST_REQUEST = """
  curl -s {gateway}/products -H 'Content-Type: application/json' \\
       -d '{{"name": "Desk lamp", "price": "19.90", "qty": 10}}'
"""


def main(arguments: Sequence[str]) -> int:
    """The exit status: 0, 1 with a line on stderr if it cannot be done, 2 for wrong usage."""
    options = parse(arguments)
    try:
        asyncio.run(COMMANDS[options.command](Stack(FOLDER, say, environ=os.environ), options))
    except StackError as error:
        sys.stderr.write(f"{error.log}\n\n" * bool(error.log) + f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # as of `make status | head -1`; Python would complain again when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start what does not run, and wait until all of it is ready")
    commands.add_parser("down", help="stop it; the data stay")
    commands.add_parser("status", help="show what runs, and where")
    commands.add_parser("demo", help="create a product, order it, follow the order through the logs")
    show = commands.add_parser("logs", help="show the log lines of one trace, in time order")
    show.add_argument("identifier", help="a trace id or a request id")
    commands.add_parser("clean", help="stop it and delete the data")
    return parser.parse_args(arguments)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def up(stack: Stack, _options: argparse.Namespace) -> None:
    started = time.monotonic()
    parts = {part.name: part for part in await stack.up()}
    for part in parts.values():
        say(f"  {part.name:<16}{shown_address(part)}")
    say(f"Ready after {time.monotonic() - started:.1f} s. A first request:")
    say(FIRST_REQUEST.format(gateway=parts["gateway"].url))


def shown_address(part: Part) -> str:
    """Without a password, except the one that everybody knows."""
    if part.url.startswith("http"):
        return part.url
    return f"{part.address}   {part.ui} (guest/guest)" if part.ui else part.address


async def down(stack: Stack, _options: argparse.Namespace) -> None:
    await stack.down()
    say("Stopped; the data stay.")


async def status(stack: Stack, _options: argparse.Namespace) -> None:
    rows = await stack.status()
    if not rows:
        say("Nothing was started here yet.")
    for part, state in rows:
        say(f"{part.name:<16}{part.address:<18}{part.server.daemon.pid or '':<9}{state}")


async def show_demo(stack: Stack, _options: argparse.Namespace) -> None:
    await demo.run(stack.gateway_url(), FOLDER, say)


async def show_logs(_stack: Stack, options: argparse.Namespace) -> None:
    if not options.identifier:
        raise StackError("which one? make logs TRACE=<trace id or request id>")
    lines = logs.find(FOLDER, options.identifier)
    if not lines:
        raise StackError(f"no log line has the trace id or request id {options.identifier!r}")
    for line in lines:
        say(str(line))


async def clean(stack: Stack, _options: argparse.Namespace) -> None:
    await stack.clean()


COMMANDS: dict[str, Callable[[Stack, argparse.Namespace], Coroutine[object, object, None]]] = {
    "up": up,
    "down": down,
    "status": status,
    "demo": show_demo,
    "logs": show_logs,
    "clean": clean,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
