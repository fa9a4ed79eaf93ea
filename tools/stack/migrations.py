"""Both schemas, brought up to date by the project's own program in a process of its own."""

import os
import sys
from pathlib import Path

from tools.stack import jobs

LIMIT = 60.0


async def apply(name: str, owner_url: str, service_url: str, root: Path) -> None:
    """StackError with what the program said if it fails."""
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": str(root / "src"),
        "DATABASE_OWNER_URL": owner_url,
        "DATABASE_URL": service_url,
    }
    command = (sys.executable, "-m", "ops", "migrate", name)
    await jobs.finish(f"the migration of {name}", command, LIMIT, folder=root, environment=environment)
