"""Commands at a terminal: the lines that they print, and the status that they end with."""

import os
import signal
import sys
from collections.abc import Callable

from tools.stack.errors import StackError


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def say_error(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def exit_status(command: Callable[[], int | None]) -> int:
    """Calls `command`; returns its status, 1 with a StackError's text on stderr, or 130 after Ctrl-C."""
    try:
        return command() or 0
    except StackError as error:
        say_error(f"{error.log}\n\n{error}" if error.log else str(error))
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # after `make status | head -1`; without the new stdout Python would complain at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
