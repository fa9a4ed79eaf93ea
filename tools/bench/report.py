"""A result as text for people and as JSON for programs."""

import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from tools.bench.benchmark import Result
from tools.bench.wrk import CONNECTIONS


def machine() -> dict[str, object]:
    """What figures depend on; the load average shows whether anybody else was busy before."""
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "Python": platform.python_version(),
        "load average before": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    """Empty where /proc/cpuinfo does not name it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def as_json(result: Result, about: Mapping[str, object]) -> str:
    figures = asdict(result) | {"rates": rates(result), "problems": result.problems, "machine": about}
    return json.dumps(figures, indent=2)


def rates(result: Result) -> dict[str, float]:
    """Orders a second. Done: between the first and the last that got final."""
    outcome = result.outcome
    return {
        "accepted": result.shot.accepted / result.shot.seconds,
        "done": outcome.done / outcome.done_seconds if outcome.done_seconds else 0.0,
    }


def as_text(result: Result, about: Mapping[str, object]) -> str:
    return "\n".join([*_lines(result, about), "", result.costs.table(), "", *_verdict(result)])


def _lines(result: Result, about: Mapping[str, object]) -> Iterator[str]:
    shot, outcome, rate = result.shot, result.outcome, rates(result)
    yield ", ".join(f"{name} {value}" for name, value in about.items())
    yield f"closed loop, {CONNECTIONS} connections, {result.load.products} products, {shot.seconds:.1f} s"
    yield ""
    yield f"{'orders accepted':<18}{shot.accepted:>9,}{rate['accepted']:>9,.0f}/s"
    yield f"{'orders done':<18}{outcome.done:>9,}{rate['done']:>9,.0f}/s"
    yield f"{'failed requests':<18}{shot.failed:>9,}"
    yield f"{'time to answer':<18}{_milliseconds(shot.latency)}"
    yield f"{'time to final':<18}{_milliseconds(outcome.waited)}"


def _milliseconds(percentiles: Mapping[str, float]) -> str:
    return "".join(f"   {name} {value:,.1f} ms" for name, value in percentiles.items())


def _verdict(result: Result) -> list[str]:
    return result.problems or ["every order is done, no request failed, stock adds up"]
