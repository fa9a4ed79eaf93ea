"""Work that ends by itself: programs with a time limit, and coroutines side by side."""

import asyncio
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path

from tools.stack.errors import StackError


async def finish(
    name: str,
    arguments: Sequence[str],
    limit: float,
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    user: str | None = None,
) -> str:
    """Runs a program and returns what it printed; raises StackError, with that, if it fails.

    The program is killed after `limit` seconds. Only root may give a `user`.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            cwd=folder,
            env=environment,
            user=user,
            group=user,
            extra_groups=[] if user else None,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
        )
    except OSError as error:
        raise StackError(f"{name} cannot be started: {error}") from error
    try:
        async with asyncio.timeout(limit):
            output, _ = await process.communicate()
    except TimeoutError:
        raise StackError(f"{name} did not end within {limit:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise StackError(f"{name} failed", output.decode(errors="replace"))
    return output.decode(errors="replace")


async def together(*work: Coroutine[object, object, None]) -> None:
    """Waits for all of it; the first failure cancels the rest, and a StackError is raised without its group."""
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in work:
                group.create_task(coroutine)
    except ExceptionGroup as failures:
        expected, unexpected = failures.split(StackError)
        if expected is None or unexpected is not None:
            raise
        raise expected.exceptions[0] from None
