"""Programs of the project, run to their end or until a test ends them."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tools.stack.services import ROOT

_LIMIT = 20.0


@dataclass(frozen=True, slots=True)
class Outcome:
    status: int | None
    stdout: str
    stderr: str


class Program:
    """A process whose output is read all the time, so that it never waits for a reader."""

    def __init__(self, process: Process) -> None:
        self.pid = process.pid
        self.send_signal = process.send_signal
        self._process = process
        self._output = asyncio.create_task(process.communicate())

    async def outcome(self) -> Outcome:
        """Once it has ended, which it must within 20 s."""
        async with asyncio.timeout(_LIMIT):
            stdout, stderr = await self._output
        return Outcome(self._process.returncode, (stdout or b"").decode(), stderr.decode())

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await asyncio.wait({self._output})


@asynccontextmanager
async def program(*module: str, environment: Mapping[str, str], stdout: int = PIPE) -> AsyncIterator[Program]:
    """`python -m module` with this environment and no other; killed if it outlives the context.

    With another `stdout`, an open file, the outcome's is empty.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *module),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), **environment},
        stdout=stdout,
        stderr=PIPE,
    )
    program = Program(process)
    try:
        yield program
    finally:
        await program.kill()


async def run(*module: str, environment: Mapping[str, str]) -> Outcome:
    """Fails if it takes longer than 20 s."""
    async with program(*module, environment=environment) as running:
        return await running.outcome()
