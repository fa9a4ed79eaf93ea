"""What a person is told of rounds: one after the other, and all together."""

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from tools.faults import scenario
from tools.faults.evidence import succeeded
from tools.faults.plan import Fault
from tools.faults.record import Attempt, Record
from tools.faults.round import Round

_MOST_SHOWN = 20


@dataclass(slots=True)
class Line:
    """Of one fault in one sort of part, over all rounds."""

    times: int = 0
    requests: int = 0
    refused: int = 0
    recovery: list[float] = field(default_factory=list)


def story(played: Round) -> str:
    """Of a round: what it did, what it broke, what it found."""
    lines = [scenario.describe(played.plan), f"  {_requests([played.record])}"]
    recovery = played.outages.recovery.values()
    if recovery:
        lines.append(f"  ready again after {max(recovery):.1f} s at most")
    shown = played.differences[:_MOST_SHOWN]
    lines += [f"  {difference}" for difference in shown] or ["  nothing lost, doubled or oversold"]
    if len(played.differences) > len(shown):
        lines.append(f"  and {len(played.differences) - len(shown)} more")
    return "\n".join([*lines, *played.stories])


def table(rounds: Sequence[Round]) -> str:
    """For each fault how often there was one, what clients saw meanwhile, and how long until all was ready again."""
    lines: dict[tuple[str, str], Line] = {}
    for played in rounds:
        for fault in played.plan.faults:
            line = lines.setdefault((fault.kind, _sort_of(fault.target)), Line())
            _count(line, fault, played)
    found = sum(len(played.differences) for played in rounds)
    rows = [
        f"{len(rounds)} rounds, {sum(line.times for line in lines.values())} faults, "
        f"{_requests([played.record for played in rounds])}; {found} differences",
        "",
        "| fault | of | times | requests meanwhile | failed | ready again, median | at most |",
        "|---|---|---:|---:|---:|---:|---:|",
        *(_row(kind, target, line) for (kind, target), line in sorted(lines.items())),
    ]
    return "\n".join(rows)


def _row(kind: str, target: str, line: Line) -> str:
    recovery = line.recovery or [0.0]
    return (
        f"| {kind} | {target} | {line.times} | {line.requests} | {line.refused} "
        f"| {statistics.median(recovery):.1f} s | {max(recovery):.1f} s |"
    )


def _count(line: Line, fault: Fault, played: Round) -> None:
    began, ended = played.record.lasted(fault)
    meanwhile = [attempt for attempt in _attempts(played.record) if attempt.began < ended and attempt.ended > began]
    line.times += 1
    line.requests += len(meanwhile)
    line.refused += sum(not attempt.is_certain for attempt in meanwhile)
    if fault in played.outages.recovery:
        line.recovery.append(played.outages.recovery[fault])


def _requests(records: Sequence[Record]) -> str:
    attempts = list(chain.from_iterable(map(_attempts, records)))
    outcomes = Counter(_outcome(attempt) for attempt in attempts)
    told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    return f"{len(attempts)} requests: {told}"


def _outcome(attempt: Attempt) -> str:
    if succeeded(attempt):
        return "done"
    return "without an answer" if attempt.status is None else f"answered {attempt.status}"


def _attempts(record: Record) -> Iterator[Attempt]:
    return chain.from_iterable(outcome.attempts for outcome in record.outcomes)


def _sort_of(target: str) -> str:
    """Without the number of a replica."""
    return target.replace("-1", "").replace("-2", "").replace(">", " → ")
