"""`python -m tools.newman`: the requests and tests of the Postman collection, at the running stack."""

import asyncio
import sys
from pathlib import Path

from tools import running
from tools.newman import newman
from tools.stack.errors import StackError

INTERRUPTED = 130


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(file: Path = running.FILE) -> int:
    """The exit status: 1 if a test of the collection failed, or none could be run."""
    try:
        say(asyncio.run(_run(file)))
    except StackError as error:
        sys.stderr.write(f"{error.log}\n\n" * bool(error.log) + f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


async def _run(file: Path) -> str:
    stack = running.load(file)
    await stack.check()
    return await newman.run(stack.url["gateway"], say)


if __name__ == "__main__":
    sys.exit(main())
