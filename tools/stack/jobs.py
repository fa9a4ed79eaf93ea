"""A program that ends by itself, within a time limit."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.stack.errors import StackError


async def finish(
    name: str,
    arguments: Sequence[str],
    limit: float,
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """What it printed. StackError, with that, if it failed; after `limit` seconds it is killed."""
    process = await asyncio.create_subprocess_exec(
        *arguments,
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
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
