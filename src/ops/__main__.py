"""`python -m ops COMMAND`: exit status 0, 1 for differences or what was not done, 2 for wrong usage or settings."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence

import structlog

from ops import dead_letters, outbox, reconcile
from ops.arguments import parse
from ops.errors import OpsError
from ops.output import Answer
from ops.settings import broker_url, database_urls
from shared.settings import SettingsError


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    _keep_logs_out()
    try:
        answer = asyncio.run(run(options, os.environ))
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
    except BrokenPipeError:  # as of `… | head -1`; Python would complain again when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0 if answer.ok else 1


async def run(options: argparse.Namespace, environ: Mapping[str, str]) -> Answer:
    """Raises SettingsError or OpsError."""
    match options.command:
        case "dead-letters":
            return await dead_letters.run(broker_url(environ), options)
        case "reconcile":
            return await reconcile.run(database_urls(environ), options)
        case _:
            return await outbox.run(database_urls(environ))


def _keep_logs_out() -> None:
    """stdout is the answer's; what fails is said once, on stderr, and not by the client libraries too."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.basicConfig(level=logging.CRITICAL, handlers=[logging.NullHandler()])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
