"""The command line. Wrong usage ends the program with exit status 2."""

import argparse
from collections.abc import Sequence

from ops.bounds import number, whole
from shared.messaging.topology import QUEUES

_MOST_LISTED = 10_000
# Seconds.
_LONGEST = 86_400.0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """`command`, `json` and what the command takes; `action` of dead-letters."""
    parser = argparse.ArgumentParser(prog="python -m ops", description="Look at what went wrong, and repair it.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_dead_letters(commands)
    _add_reconcile(commands)
    _add(commands, "outbox", "events that the broker has not confirmed yet, of both services")
    options = parser.parse_args(arguments)
    if "ids" in options and "all" in options and bool(options.ids) is options.all:
        parser.error(f"dead-letters {options.action}: give IDs, or --all")
    return options


def _add_dead_letters(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    command = commands.add_parser("dead-letters", help="events that could not be read or applied")
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    listed = _add(actions, "list", "what there is, and why")
    listed.add_argument("--limit", type=whole(1, _MOST_LISTED), default=100, help="at most so many (%(default)s)")
    shown = _add(actions, "show", "all of one")
    shown.add_argument("ids", metavar="ID", nargs=1, help="as list names it")
    replayed = _add(actions, "replay", "send them to the queue that they came from")
    dropped = _add(actions, "drop", "delete them")
    for action in (replayed, dropped):
        action.add_argument("ids", metavar="ID", nargs="*", help="as list names it")
        action.add_argument("--all", action="store_true", help="every one that is there now")
    for action in (listed, shown, replayed, dropped):
        action.add_argument("--queue", choices=[queue.name for queue in QUEUES], help="only those of this queue")


def _add_reconcile(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    command = _add(commands, "reconcile", "compare stock, movements, reservations, orders and their history")
    command.add_argument(
        "--older-than",
        type=number(0, _LONGEST),
        default=60.0,
        metavar="SECONDS",
        help="how long an order may be on its way (%(default)g)",
    )
    command.add_argument(
        "--settle",
        type=number(0, _LONGEST),
        default=5.0,
        metavar="SECONDS",
        help="pause before differences are looked at again; those that have gone were work in flight (%(default)g)",
    )
    command.add_argument("--limit", type=whole(1, _MOST_LISTED), default=100, help="print so many (%(default)s)")


def _add(
    parsers: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, description: str
) -> argparse.ArgumentParser:
    parser = parsers.add_parser(name, help=description, description=description)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return parser
