"""`python -m tools.ops COMMAND`: the operator's tools on the running stack."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tools import running
from tools.running import RunningStack
from tools.stack.errors import StackError
from tools.stack.services import ROOT


def environment(stack: RunningStack) -> dict[str, str]:
    """What `python -m ops` reads; its URLs hold passwords."""
    return {
        "AMQP_URL": stack.url["rabbitmq"],
        "PRODUCTS_DATABASE_URL": stack.url["products-db"],
        "ORDERS_DATABASE_URL": stack.url["orders-db"],
        "PYTHONPATH": str(ROOT / "src"),
    }


def main(arguments: Sequence[str], file: Path = running.FILE) -> NoReturn:
    """Becomes `python -m ops`; exit status 1 if the stack is not up."""
    try:
        stack = running.load(file)
    except StackError as error:
        sys.exit(str(error))
    command = (sys.executable, "-m", "ops", *arguments)
    os.execve(sys.executable, command, {**os.environ, **environment(stack)})  # noqa: S606  # no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
