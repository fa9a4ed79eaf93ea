"""Makes .venv from the locked requirements; needs nothing but the standard library.

`python3 -m tools.venv` does nothing as long as .venv is whole and was made from the same file by the same interpreter,
in the same place.
"""

import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path

from tools.stack import apt
from tools.stack.errors import StackError

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".venv"
PYTHON = FOLDER / "bin" / "python"
STAMP = FOLDER / "requirements.sha256"
REQUIREMENTS = ROOT / "requirements" / "dev.txt"
OLDEST_PYTHON = (3, 11)
LIMIT_SECONDS = 900


def main() -> int:
    """The exit status: 0, or 1 with the reason on stderr."""
    try:
        if not is_current():
            make()
    except StackError as error:
        sys.stderr.write(f"{error.log}\n\n" * bool(error.log) + f"{error}\n")
        return 1
    return 0


def stamp() -> str:
    """Also of the interpreter, and of the place, which the scripts in .venv/bin name in their first line."""
    parts = (str(FOLDER).encode(), f"{sys.base_prefix} {sys.version}".encode(), REQUIREMENTS.read_bytes())
    return hashlib.sha256(b"\n".join(parts)).hexdigest()


def is_current() -> bool:
    """A stamp is written last, so a .venv that was interrupted has none."""
    return PYTHON.exists() and STAMP.exists() and STAMP.read_text() == stamp()


def make() -> None:
    """Replaces what is there; StackError says what is missing."""
    if sys.version_info < OLDEST_PYTHON:
        raise StackError(f"needs Python 3.11 or newer, and {sys.executable} is {sys.version.split()[0]}")
    if importlib.util.find_spec("ensurepip") is None:  # Debian keeps it in a package of its own
        apt.install(["python{}.{}-venv".format(*sys.version_info)], say)
    say("Making .venv")
    run(sys.executable, "-m", "venv", "--clear", str(FOLDER))
    install = ("-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--require-hashes")
    run(str(PYTHON), *install, "--requirement", str(REQUIREMENTS))
    STAMP.write_text(stamp())


def run(*command: str) -> None:
    try:
        outcome = subprocess.run(  # noqa: S603  # the command is built from constants
            command, capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise StackError(f"did not end within {LIMIT_SECONDS} s: {' '.join(command)}") from None
    if outcome.returncode:
        raise StackError(f"failed: {' '.join(command)}", outcome.stdout + outcome.stderr)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
