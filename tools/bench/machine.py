"""What the figures of a run depend on beside the code."""

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

ADDITIONS = 5_000_000


@dataclass(frozen=True)
class Machine:
    cores: int
    processor: str
    python: str
    load_average: float
    """Of the last minute: whether anybody else was busy."""
    additions: float
    """Millions a second that one core makes in a loop: a shared machine is not always as fast as it can be."""


def now() -> Machine:
    """Blocks for less than a second."""
    return Machine(
        cores=os.cpu_count() or 1,
        processor=_processor(),
        python=platform.python_version(),
        load_average=round(os.getloadavg()[0], 2),
        additions=round(ADDITIONS / _loop_seconds() / 1e6, 1),
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _loop_seconds() -> float:
    started, total = time.process_time(), 0
    for number in range(ADDITIONS):
        total += number
    return time.process_time() - started
