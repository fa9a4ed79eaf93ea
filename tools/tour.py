"""`make tour`: runs the commands of docs/tour.md on a system of its own and writes down what they print."""

import asyncio
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.stack import programs
from tools.stack.errors import StackError
from tools.stack.parts import Part
from tools.stack.ports import PREFERRED
from tools.stack.services import ROOT
from tools.stack.stack import Stack
from tools.terminal import exit_status

PAGE = ROOT / "docs" / "tour.md"
COMMAND_SECONDS = 40

_BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```)", re.DOTALL | re.MULTILINE)
# A command begins with "$ " and goes on in the next line while its line ends with a backslash.
_COMMAND = re.compile(r"^\$ (?:.*\\\n)*.*\n", re.MULTILINE)


def play(page: str, ports: Mapping[str, int]) -> str:
    """The page with the output of each command as it is now.

    The page uses the ports that `make up` prefers; `ports` are those of the system that the commands run on. The
    databases must be new, so that ids begin with 1 as on the page. Installs curl if it is missing. Raises StackError
    if a command fails.
    """
    programs.install_missing({"curl": "curl"})
    return _BLOCK.sub(lambda block: "\n".join(_run(command, ports) for command in _COMMAND.findall(block[0])), page)


def _run(command: str, ports: Mapping[str, int]) -> str:
    words = command.removeprefix("$ ")
    for name, port in ports.items():
        words = re.sub(rf"\b{PREFERRED[name]}\b", str(port), words)
    outcome = subprocess.run(  # noqa: S603  # the commands are those of the page
        ["/bin/bash", "-o", "pipefail", "-c", words],
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_SECONDS,
    )
    if outcome.returncode:
        raise StackError(f"failed with {outcome.returncode}: {command}", outcome.stdout + outcome.stderr)
    output = outcome.stdout.replace("\r\n", "\n").strip("\n")
    return f"{command}{output}\n"


def ports_of(parts: Sequence[Part]) -> dict[str, int]:
    return {part.name: int(part.address.rpartition(":")[2]) for part in parts if part.name in PREFERRED}


async def write() -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        stack = Stack(Path(folder) / "local")
        try:
            parts = await stack.up()
            PAGE.write_text(await asyncio.to_thread(play, PAGE.read_text(), ports_of(parts)))
        finally:
            await stack.clean()


if __name__ == "__main__":
    sys.exit(exit_status(lambda: asyncio.run(write())))
