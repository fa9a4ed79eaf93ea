"""The properties of the machine that the figures of a run depend on."""

import os
import platform
import re
import time
from pathlib import Path
from typing import NamedTuple

ADDITIONS = 5_000_000


class Machine(NamedTuple):
    cores: int
    processor: str
    python: str
    load_average: float
    """Over the last minute: whether other programs were busy."""
    additions: float
    """Millions a second that one core makes in a loop: the speed of a shared machine varies."""

    def __str__(self) -> str:
        return (
            f"{self.cores} cores ({self.processor}), Python {self.python}\n"
            f"before: load average {self.load_average}, one core {self.additions} million additions a second"
        )


def now() -> Machine:
    """Blocks for less than a second."""
    processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    started, total = time.process_time(), 0
    for number in range(ADDITIONS):
        total += number
    additions = round(ADDITIONS / (time.process_time() - started) / 1e6, 1)
    name = processor[1] if processor else "unknown"
    return Machine(os.cpu_count() or 1, name, platform.python_version(), round(os.getloadavg()[0], 2), additions)
