"""`python -m ops COMMAND`: exit status 0, 1 for differences or what was not done, 2 for wrong usage or settings."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TypeAlias

import structlog

from ops import archive, letters, migrate, outbox, reconcile, repair, users
from ops.bounds import number, whole
from ops.errors import OpsError
from shared.messaging.topology import QUEUES
from shared.settings import SettingsError

_Parsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

_MOST_LISTED = 10_000
_LONGEST_SECONDS = 86_400.0


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    _silence_logs()
    try:
        answer = asyncio.run(options.run(os.environ, options))
        sys.stdout.buffer.write(answer.render(as_json=options.json))
        sys.stdout.flush()
    except SettingsError as error:
        sys.stderr.write("ops: the settings are wrong\n" + "".join(f"  {problem}\n" for problem in error.problems))
        return 2
    except OpsError as error:
        sys.stderr.write(f"{options.command}: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # from `… | head -1`; Python would complain again when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0 if answer.ok else 1


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """`command`, `run`, which does it, and its options, among them `json` and `action`. Wrong usage exits with 2."""
    parser = argparse.ArgumentParser(prog="python -m ops", description="Look at what went wrong, and repair it.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_letters(commands, "dead-letters", "events that could not be read or applied", "replay")
    _add_letters(commands, "parked", "events that a newer release may read or apply", "retry")
    compared = "compare stock, movements, reservations, orders and their history"
    _add_comparison(_add(commands, "reconcile", compared, run=reconcile.run))
    repairs = _add(commands, "repair", "make them agree again after a database was restored", run=repair.run)
    _add_comparison(repairs)
    repairs.add_argument("--apply", action="store_true", help="do it; without this, say what would be done")
    _add_outbox(commands)
    archived = "write closed orders into files, and remove them from both databases"
    archives = _add(commands, "archive", archived, run=archive.run)
    archives.add_argument(
        "--before", type=date.fromisoformat, required=True, metavar="DATE", help="that were last changed before it"
    )
    archives.add_argument("--directory", type=Path, default=Path("archive"), help="has to be there (%(default)s)")
    archives.add_argument("--dry-run", action="store_true", help="count them, keep no file and remove nothing")
    _add(commands, "broker", "bring the broker's users, permissions, queues and policies up to date", run=users.run)
    migration = _add(commands, "migrate", "bring the schema of a database up to date", run=migrate.run)
    migration.add_argument("database", choices=migrate.DATABASES, help="whose files are applied")
    options = parser.parse_args(arguments)
    if "ids" in options and "all" in options and bool(options.ids) is options.all:
        parser.error(f"{options.command} {options.action}: give IDs, or --all")
    return options


def _add_letters(commands: _Parsers, name: str, about: str, again: str) -> None:
    command = commands.add_parser(name, help=about)
    command.set_defaults(run=letters.run)
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    for action in _add_actions(actions, again, "send them to the queue that they came from"):
        action.add_argument("--queue", choices=[queue.name for queue in QUEUES], help="only those of this queue")


def _add_outbox(commands: _Parsers) -> None:
    command = _add(
        commands, "outbox", "events that the broker has not confirmed yet, of both services", run=outbox.run
    )
    actions = command.add_subparsers(dest="action", metavar="ACTION", help="look at those that are parked")
    _add_actions(actions, "retry", "put them back into the outbox")


def _add_actions(actions: _Parsers, again: str, about: str) -> list[argparse.ArgumentParser]:
    listed = _add(actions, "list", "show which there are, and why")
    listed.add_argument("--limit", type=whole(1, _MOST_LISTED), default=100, help="list at most so many (%(default)s)")
    shown = _add(actions, "show", "show everything about one")
    shown.add_argument("ids", metavar="ID", nargs=1, help="as list names it")
    repeated, dropped = _add(actions, again, about), _add(actions, "drop", "delete them")
    for action in (repeated, dropped):
        action.add_argument("ids", metavar="ID", nargs="*", help="as list names it")
        action.add_argument("--all", action="store_true", help="every one that is there now")
    return [listed, shown, repeated, dropped]


def _add_comparison(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--older-than",
        type=number(0, _LONGEST_SECONDS),
        default=60.0,
        metavar="SECONDS",
        help="how long an order may be on its way (%(default)g)",
    )
    command.add_argument(
        "--settle",
        type=number(0, _LONGEST_SECONDS),
        default=5.0,
        metavar="SECONDS",
        help="pause before differences are looked at again; those that have gone were work in flight (%(default)g)",
    )
    command.add_argument(
        "--limit", type=whole(1, _MOST_LISTED), help="print so many of each kind (5; every one with --json)"
    )
    command.add_argument("--all", dest="limit", action="store_const", const=_MOST_LISTED, help="print every one")


def _add(parsers: _Parsers, name: str, description: str, **defaults: object) -> argparse.ArgumentParser:
    parser = parsers.add_parser(name, help=description, description=description)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.set_defaults(**defaults)
    return parser


def _silence_logs() -> None:
    """Leaves stdout to the answer; a failure is one line on stderr, not repeated by the client libraries."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.basicConfig(level=logging.CRITICAL, handlers=[logging.NullHandler()])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
