"""`python -m tools.ops COMMAND`: the operator's tools on the running stack."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tools import running
from tools.stack.services import SOURCE
from tools.terminal import exit_status


def run(arguments: Sequence[str], file: Path = running.FILE) -> None:
    """Becomes `python -m ops`, with the URLs of the running stack, which hold passwords, in its environment."""
    stack = running.load(file)
    environment = {
        **os.environ,
        "AMQP_URL": stack.url["rabbitmq"],
        "PRODUCTS_DATABASE_URL": stack.operator_url["products-db"],
        "ORDERS_DATABASE_URL": stack.operator_url["orders-db"],
        "PYTHONPATH": str(SOURCE),
    }
    os.execve(sys.executable, (sys.executable, "-m", "ops", *arguments), environment)  # noqa: S606  # no shell is wanted


if __name__ == "__main__":
    sys.exit(exit_status(lambda: run(sys.argv[1:])))
