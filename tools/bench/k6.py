"""The open-loop load: k6, the program where it is installed or can be built, else its container."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tools.bench import costs
from tools.bench.measurement import Report
from tools.running import RunningStack
from tools.stack.errors import StackError
from tools.stack.services import ROOT
from tools.terminal import say_error

VERSION = "1.8.1"
MODULE = f"go.k6.io/k6@v{VERSION}"
IMAGE = f"grafana/k6:{VERSION}"
SCRIPTS = ROOT / "loadtest"
PROGRAMS = ROOT / ".local" / "bin"
BUILD_SECONDS = 900
# The load and the wait after it have limits of their own, so this guards only against a k6 that hangs.
LIMIT_SECONDS = 3600
PAGE, SUMMARY = "index.html", "summary.json"
# The settings of the script, beside BASE_URL.
VARIABLES = ("PRODUCTS", "LINES", "START_RATE", "PEAK_RATE", "RAMP_UP", "HOLD", "RAMP_DOWN", "P95_MS")


async def measure(stack: RunningStack, folder: Path) -> Report:
    """Passes if no threshold was crossed; raises StackError if k6 is missing or hangs."""
    await stack.check()
    arguments, environment = command(stack.url["gateway"], folder)
    delete_report(folder)
    before = costs.snapshot(stack.pids)
    process = await asyncio.create_subprocess_exec(*arguments, env=os.environ | environment)
    try:
        status = await asyncio.wait_for(process.wait(), LIMIT_SECONDS)
    except TimeoutError:
        process.kill()
        raise StackError(f"k6 did not end within {LIMIT_SECONDS} s") from None
    after, orders = costs.snapshot(stack.pids), accepted(folder)
    if not orders:
        return [], status == 0
    used = costs.of_run(before, after, orders=orders, generator=Path(arguments[0]).name)
    return [used.table(), f"\nReport: {folder / PAGE}"], status == 0


def delete_report(folder: Path) -> None:
    """Deletes an earlier report, which would pass for one of a run that failed early, or makes the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (PAGE, SUMMARY):
        (folder / name).unlink(missing_ok=True)


def accepted(folder: Path) -> int:
    """Returns how many accepted orders k6 counted; 0 if it ended before its summary."""
    summary = folder / SUMMARY
    metrics = json.loads(summary.read_text())["metrics"] if summary.exists() else {}
    return int(metrics.get("orders_accepted", {}).get("count", 0))


def command(url: str, report: Path) -> tuple[list[str], dict[str, str]]:
    """Returns command line and environment of a run against `url`; raises StackError where there is no k6."""
    program, docker, inside = find() or build(), shutil.which("docker"), Path("/report")
    if program is not None:
        return [str(program), *_arguments(report, SCRIPTS)], _environment(url, report)
    if docker is None:
        raise StackError(f"k6 is not installed: install k6, or Go to build it with, or Docker to run {IMAGE}")
    say_error(f"Running k6 in a container of {IMAGE}")
    environment = _environment(url, inside) | {name: os.environ[name] for name in VARIABLES if name in os.environ}
    container = [
        # The gateway listens on loopback only, so the container shares the host's network.
        *(docker, "run", "--rm", "--network", "host", "--user", f"{os.getuid()}:{os.getgid()}"),
        *("--volume", f"{SCRIPTS}:/scripts:ro", "--volume", f"{report}:{inside}"),
        *(f"--env={name}={value}" for name, value in environment.items()),
    ]
    return [*container, IMAGE, *_arguments(inside, Path("/scripts"))], {}


def _arguments(report: Path, scripts: Path) -> list[str]:
    # Progress bars are for a terminal.
    quiet = [] if sys.stdout.isatty() else ["--quiet"]
    return ["run", "--no-usage-report", *quiet, f"--summary-export={report / SUMMARY}", str(scripts / "script.js")]


def _environment(url: str, report: Path) -> dict[str, str]:
    return {
        "BASE_URL": url,
        "K6_WEB_DASHBOARD": "true",
        "K6_WEB_DASHBOARD_EXPORT": str(report / PAGE),
        "K6_WEB_DASHBOARD_PERIOD": "1s",
        # The page is written at the end; k6 need not serve it meanwhile.
        "K6_WEB_DASHBOARD_PORT": "-1",
        # Go's collector at its default takes CPU time from the system under test in bursts; k6 has memory to spare.
        "GOGC": os.environ.get("GOGC", "400"),
    }


def find() -> Path | None:
    """Looks on PATH, then where k6 is built."""
    found = shutil.which("k6") or shutil.which("k6", path=str(PROGRAMS))
    return Path(found) if found else None


def build() -> Path | None:
    """Takes some minutes once; returns None without Go, or if Go cannot build it."""
    go = shutil.which("go")
    if go is None:
        return None
    say_error(f"Building k6 with {go}: {MODULE}")
    PROGRAMS.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "GOBIN": str(PROGRAMS), "CGO_ENABLED": "0"}
    try:
        subprocess.run(  # noqa: S603  # a constant command
            [go, "install", MODULE], env=environment, capture_output=True, check=True, timeout=BUILD_SECONDS
        )
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        say_error(f"{(error.stderr or b'').decode(errors='replace')}\nGo could not build k6: {error}")
    return find()
