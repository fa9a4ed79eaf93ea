"""Both schemas, brought up to date by the project's own program in a process of its own."""

import asyncio
import os
import sys
from pathlib import Path

from tools.stack.errors import StackError

LIMIT = 60.0


async def apply(name: str, owner_url: str, service_url: str, root: Path) -> None:
    """StackError with what the program said if it fails."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "shared.migrate", name),
        cwd=root,
        env={
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": str(root / "src"),
            "DATABASE_OWNER_URL": owner_url,
            "DATABASE_URL": service_url,
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(LIMIT):
            output, _ = await process.communicate()
    except TimeoutError:
        raise StackError(f"the migrations of {name} did not end within {LIMIT:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise StackError(f"the migrations of {name} failed", output.decode(errors="replace"))
