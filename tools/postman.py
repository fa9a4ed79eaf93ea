"""`python -m tools.postman`: the requests and tests of the Postman collection in docs/, at the running stack.

They are run by newman, in the version that tools/newman locks; it is installed where it is first needed.
"""

import asyncio
import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tools import running
from tools.stack import programs
from tools.stack.jobs import finish
from tools.stack.services import ROOT
from tools.terminal import exit_status, say

COLLECTION = ROOT / "docs" / "Product Order.postman_collection.json"
LOCKED = ROOT / "tools" / "newman"
PROGRAMS = ROOT / ".local" / "newman"
INSTALL_SECONDS = 300
RUN_SECONDS = 120
# More than the gateway ever waits for an order.
REQUEST_MILLISECONDS = 40_000


async def run(url: str, say: Callable[[str], None]) -> str:
    """Returns what newman printed of the collection at the gateway `url`; StackError, with that, if a test failed."""
    program = await install(say)
    command = (
        *("node", str(program), "run", str(COLLECTION), "--env-var", f"baseUrl={url}", "--ignore-redirects"),
        *("--timeout-request", str(REQUEST_MILLISECONDS), "--color", "off", "--disable-unicode"),
    )
    return await finish("newman", command, RUN_SECONDS, environment={**os.environ, "FORCE_COLOR": "0"})


async def install(say: Callable[[str], None]) -> Path:
    """The program; each lock file has a folder of its own, which appears whole or not at all."""
    await asyncio.to_thread(install_node, say)
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(LOCKED.iterdir()))).hexdigest()
    folder = PROGRAMS / digest[:16]
    if not folder.exists():
        say("Installing newman with npm")
        PROGRAMS.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=PROGRAMS) as parent:
            draft = shutil.copytree(LOCKED, Path(parent) / "newman")
            await finish("npm ci", ("npm", "ci"), INSTALL_SECONDS, folder=draft)
            with contextlib.suppress(OSError):  # another run was quicker, and has made the same
                draft.rename(folder)
    return folder / "node_modules" / "newman" / "bin" / "newman.js"


def install_node(say: Callable[[str], None]) -> None:
    programs.install_missing(say, {"node": "nodejs", "npm": "npm"})


async def main() -> None:
    stack = running.load()
    await stack.check()
    say(await run(stack.url["gateway"], say))


if __name__ == "__main__":
    sys.exit(exit_status(lambda: asyncio.run(main())))
