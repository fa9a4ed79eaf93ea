"""Makes .venv from the locked requirements; needs nothing but the standard library.

`python3 -m tools.venv` does nothing as long as .venv is whole and was made from the same file by the same interpreter,
in the same place.
"""

import asyncio
import hashlib
import importlib.util
import sys
from pathlib import Path

from tools.stack import programs
from tools.stack.errors import StackError
from tools.stack.jobs import finish
from tools.terminal import exit_status, say

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".venv"
PYTHON = FOLDER / "bin" / "python"
STAMP = FOLDER / "requirements.sha256"
REQUIREMENTS = ROOT / "requirements" / "dev.txt"
OLDEST_PYTHON = (3, 11)
INSTALL = ("-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--require-hashes", "--requirement")
LIMIT_SECONDS = 900


def stamp() -> str:
    """Covers requirements, interpreter and place; the scripts in .venv/bin name the place in their first line."""
    parts = (str(FOLDER).encode(), f"{sys.base_prefix} {sys.version}".encode(), REQUIREMENTS.read_bytes())
    return hashlib.sha256(b"\n".join(parts)).hexdigest()


def update() -> None:
    """Makes .venv again unless it is current; StackError says what is missing."""
    if PYTHON.exists() and STAMP.exists() and STAMP.read_text() == stamp():
        return
    if sys.version_info < OLDEST_PYTHON:
        raise StackError(f"needs Python 3.11 or newer, and {sys.executable} is {sys.version.split()[0]}")
    if importlib.util.find_spec("ensurepip") is None:  # Debian keeps it in a package of its own
        programs.install(["python{}.{}-venv".format(*sys.version_info)])
    say("Making .venv")
    asyncio.run(finish("python -m venv", (sys.executable, "-m", "venv", "--clear", str(FOLDER)), LIMIT_SECONDS))
    asyncio.run(finish("pip install", (str(PYTHON), *INSTALL, str(REQUIREMENTS)), LIMIT_SECONDS))
    STAMP.write_text(stamp())  # last, so that a .venv whose making was interrupted has none


if __name__ == "__main__":
    sys.exit(exit_status(update))
