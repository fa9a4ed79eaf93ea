"""newman: the locked version, installed where it is first needed."""

import asyncio
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tools.stack import apt
from tools.stack.errors import StackError
from tools.stack.jobs import finish
from tools.stack.services import ROOT

COLLECTION = ROOT / "docs" / "Product Order.postman_collection.json"
PROGRAMS = ROOT / ".local" / "newman"
PACKAGES = {"node": "nodejs", "npm": "npm"}
INSTALL_SECONDS = 300
RUN_SECONDS = 120
# More than the gateway ever waits for an order.
REQUEST_MILLISECONDS = 40_000

_LOCKED = Path(__file__).parent
_FILES = ("package.json", "package-lock.json", ".npmrc")


async def run(url: str, say: Callable[[str], None], programs: Path = PROGRAMS) -> str:
    """What newman printed of the collection at the gateway `url`; StackError, with that, if a test in it failed."""
    program = await asyncio.to_thread(install, programs, say)
    command = (
        *("node", str(program), "run", str(COLLECTION), "--env-var", f"baseUrl={url}", "--ignore-redirects"),
        *("--timeout-request", str(REQUEST_MILLISECONDS), "--color", "off", "--disable-unicode"),
    )
    return await finish("newman", command, RUN_SECONDS, environment={**os.environ, "FORCE_COLOR": "0"})


def install(programs: Path, say: Callable[[str], None]) -> Path:
    """The program; each lock file has a folder of its own, which appears whole or not at all. Blocks meanwhile."""
    install_node(say)
    digest = hashlib.sha256(b"".join((_LOCKED / name).read_bytes() for name in _FILES)).hexdigest()
    folder = programs / digest[:16]
    if not folder.exists():
        say("Installing newman with npm")
        programs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=programs) as parent:
            _move(_install_locked(Path(parent) / "newman"), folder)
    return folder / "node_modules" / "newman" / "bin" / "newman.js"


def install_node(say: Callable[[str], None]) -> None:
    """StackError names the Debian packages where apt-get cannot install them."""
    missing = [package for name, package in PACKAGES.items() if shutil.which(name) is None]
    if missing:
        apt.install(missing, say)


def _install_locked(folder: Path) -> Path:
    folder.mkdir()
    for name in _FILES:
        shutil.copy(_LOCKED / name, folder)
    try:
        outcome = subprocess.run(
            ["npm", "ci"],  # noqa: S607  # from PATH, as `install_node` has found it
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=INSTALL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise StackError(f"npm ci did not end within {INSTALL_SECONDS} s") from None
    if outcome.returncode:
        raise StackError("npm could not install newman", outcome.stdout)
    return folder


def _move(made: Path, folder: Path) -> None:
    try:
        made.rename(folder)
    except OSError as error:
        if not folder.exists():  # else another run was quicker, and has made the same
            raise StackError(f"{folder} cannot be made: {error.strerror}") from error
