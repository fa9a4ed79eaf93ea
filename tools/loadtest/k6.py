"""k6: the program where it is or can be built, else its container."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tools.stack.errors import StackError
from tools.stack.services import ROOT

VERSION = "1.8.1"
MODULE = f"go.k6.io/k6@v{VERSION}"
IMAGE = f"grafana/k6:{VERSION}"
SCRIPTS = ROOT / "loadtest"
PROGRAMS = ROOT / ".local" / "bin"
BUILD_SECONDS = 900
# Progress bars are for a terminal.
RUN = ("run", "--no-usage-report", *(() if sys.stdout.isatty() else ("--quiet",)))
# What the script takes from the environment, beside BASE_URL and REPORT.
VARIABLES = ("PRODUCTS", "START_RATE", "PEAK_RATE", "RAMP_UP", "HOLD", "RAMP_DOWN", "P95_MS")


def command(url: str, report: Path, say: Callable[[str], None], programs: Path = PROGRAMS) -> list[str]:
    """Runs the script against `url`, with its report in `report`; StackError where there is no k6 to be had."""
    program = find(programs) or build(programs, say)
    if program is not None:
        told = ("--env", f"BASE_URL={url}", "--env", f"REPORT={report}")
        return [str(program), *RUN, *told, str(SCRIPTS / "script.js")]
    docker = shutil.which("docker")
    if docker is None:
        raise StackError(f"k6 is not installed: install k6, or Go to build it with, or Docker to run {IMAGE}")
    say(f"Running k6 in a container of {IMAGE}")
    return [docker, *_container(url, report)]


def find(programs: Path) -> Path | None:
    """On PATH, else the one that was built."""
    found = shutil.which("k6") or shutil.which("k6", path=str(programs))
    return Path(found) if found else None


def build(programs: Path, say: Callable[[str], None]) -> Path | None:
    """Takes minutes, once; None without Go, or if Go cannot."""
    go = shutil.which("go")
    if go is None:
        return None
    say(f"Building k6 with {go}: {MODULE}")
    programs.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "GOBIN": str(programs), "CGO_ENABLED": "0"}
    try:
        outcome = subprocess.run(  # noqa: S603  # a constant command
            [go, "install", MODULE],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=BUILD_SECONDS,
        )
    except subprocess.TimeoutExpired:
        say(f"Go did not build k6 within {BUILD_SECONDS} s")
        return None
    if outcome.returncode:
        say(f"{outcome.stderr}\nGo could not build k6")
        return None
    return programs / "k6"


def _container(url: str, report: Path) -> list[str]:
    """It shares the host's network, since the gateway listens on loopback only."""
    told = {"BASE_URL": url, "REPORT": "/report"}
    overridden = [name for name in VARIABLES if name in os.environ]
    return [
        *("run", "--rm", "--network", "host", "--user", f"{os.getuid()}:{os.getgid()}"),
        *("--volume", f"{SCRIPTS}:/scripts:ro", "--volume", f"{report}:/report"),
        *(word for name, value in told.items() for word in ("--env", f"{name}={value}")),
        *(word for name in overridden for word in ("--env", name)),
        *(IMAGE, *RUN, "/scripts/script.js"),
    ]
