"""Packages that one tool or test alone needs, in the versions that lock files beside it name.

They are installed where they are first needed, in a folder of their own for each content of these files.
"""

import asyncio
import contextlib
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from tools.stack import programs
from tools.stack.jobs import finish
from tools.stack.services import ROOT
from tools.terminal import say_error

INSTALL_SECONDS = 300
PROGRAMS = ROOT / ".local"


async def npm(locked: Path) -> Path:
    """The folder with `node_modules`, made as package-lock.json says."""
    await asyncio.to_thread(install_node)
    files = [locked / name for name in ("package.json", "package-lock.json", ".npmrc")]
    return await once(files, lambda draft: finish("npm ci", ("npm", "ci"), INSTALL_SECONDS, folder=draft))


def install_node() -> None:
    programs.install_missing({"node": "nodejs", "npm": "npm"})


async def once(files: list[Path], install: Callable[[Path], Awaitable[object]]) -> Path:
    """The folder that `install` has filled, with copies of the files in it: whole, or it is not there."""
    content = b"\n".join([sys.version.encode(), *(file.read_bytes() for file in files)])
    name = files[0].parent.name
    folder = PROGRAMS / name / hashlib.sha256(content).hexdigest()[:16]
    if not folder.exists():
        say_error(f"Installing what {name} needs: {files[0].name}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as parent:
            draft = Path(parent) / "draft"
            draft.mkdir()
            for file in files:
                shutil.copy(file, draft)
            await install(draft)
            with contextlib.suppress(OSError):  # another run was quicker, and has made the same
                draft.rename(folder)
    return folder
