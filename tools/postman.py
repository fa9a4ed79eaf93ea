"""`python -m tools.postman`: the requests and tests of the Postman collection in docs/, at the running stack.

They are run by newman, in the version that tools/newman locks; it is installed where it is first needed.
"""

import asyncio
import os
import sys

from tools import installed, running
from tools.stack.jobs import finish
from tools.stack.services import ROOT
from tools.terminal import exit_status, say

COLLECTION = ROOT / "docs" / "Product Order.postman_collection.json"
LOCKED = ROOT / "tools" / "newman"
RUN_SECONDS = 120
# More than the gateway ever waits for an order.
REQUEST_MILLISECONDS = 40_000


async def run(url: str) -> str:
    """Returns what newman printed of the collection at the gateway `url`; StackError, with that, if a test failed."""
    program = (await installed.npm(LOCKED)) / "node_modules" / "newman" / "bin" / "newman.js"
    command = (
        *("node", str(program), "run", str(COLLECTION), "--env-var", f"baseUrl={url}", "--ignore-redirects"),
        *("--timeout-request", str(REQUEST_MILLISECONDS), "--color", "off", "--disable-unicode"),
    )
    return await finish("newman", command, RUN_SECONDS, environment={**os.environ, "FORCE_COLOR": "0"})


async def main() -> None:
    stack = running.load()
    await stack.check()
    say(await run(stack.url["gateway"]))


if __name__ == "__main__":
    sys.exit(exit_status(lambda: asyncio.run(main())))
