"""Packages that one tool or test alone needs: a folder beside the tools names them in a lock file.

They are installed where they are first needed, in a folder of their own for each content of the lock file.
"""

import asyncio
import contextlib
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.stack import programs
from tools.stack.jobs import finish
from tools.stack.services import ROOT
from tools.venv import INSTALL

INSTALL_SECONDS = 300
PROGRAMS = ROOT / ".local"


async def npm(locked: Path, say: Callable[[str], None]) -> Path:
    """The folder with `node_modules`, made as package-lock.json says."""
    await asyncio.to_thread(install_node, say)
    folder = _folder(locked, "package.json", "package-lock.json", ".npmrc")
    if not folder.exists():
        say(f"Installing {locked.name} with npm")
        with _draft(folder) as draft:
            for name in ("package.json", "package-lock.json", ".npmrc"):
                shutil.copy(locked / name, draft)
            await finish("npm ci", ("npm", "ci"), INSTALL_SECONDS, folder=draft)
    return folder


async def pip(locked: Path, say: Callable[[str], None]) -> Path:
    """The interpreter of a virtual environment, made as requirements.txt says.

    Run its programs as modules: the scripts name the folder in which they were installed.
    """
    folder = _folder(locked, "requirements.txt")
    if not folder.exists():
        say(f"Installing {locked.name} with pip")
        with _draft(folder) as draft:
            await finish("python -m venv", (sys.executable, "-m", "venv", str(draft)), INSTALL_SECONDS)
            command = (str(draft / "bin" / "python"), *INSTALL, str(locked / "requirements.txt"))
            await finish("pip install", command, INSTALL_SECONDS)
    return folder / "bin" / "python"


def install_node(say: Callable[[str], None]) -> None:
    programs.install_missing(say, {"node": "nodejs", "npm": "npm"})


def _folder(locked: Path, *names: str) -> Path:
    parts = [sys.version.encode(), *((locked / name).read_bytes() for name in names)]
    return PROGRAMS / locked.name / hashlib.sha256(b"\n".join(parts)).hexdigest()[:16]


@contextlib.contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    """What is written in it becomes the folder, whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as parent:
        draft = Path(parent) / "draft"
        draft.mkdir()
        yield draft
        with contextlib.suppress(OSError):  # another run was quicker, and has made the same
            draft.rename(folder)
