"""A result as text for people and as JSON for programs."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict

from tools.bench.benchmark import Result
from tools.bench.machine import Machine
from tools.bench.wrk import CONNECTIONS


def as_json(result: Result, machine: Machine) -> str:
    figures = asdict(result) | {"rates": rates(result), "problems": result.problems, "machine": asdict(machine)}
    return json.dumps(figures, indent=2)


def rates(result: Result) -> dict[str, float]:
    """Orders a second. Done: between the first and the last that got final."""
    outcome = result.outcome
    return {
        "accepted": result.shot.accepted / result.shot.seconds,
        "done": outcome.done / outcome.done_seconds if outcome.done_seconds else 0.0,
    }


def as_text(result: Result, machine: Machine) -> str:
    return "\n".join([*_lines(result, machine), "", result.costs.table(), "", *_verdict(result)])


def _lines(result: Result, machine: Machine) -> Iterator[str]:
    shot, outcome, rate = result.shot, result.outcome, rates(result)
    yield f"{machine.cores} cores ({machine.processor}), Python {machine.python}"
    yield f"before: load average {machine.load_average}, one core {machine.additions} million additions a second"
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
