"""Reports rounds to a person: one after the other, and all together."""

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain

from tools.faults.evidence import Difference
from tools.faults.plan import Fault
from tools.faults.record import Attempt, Record
from tools.faults.round import Round

_MOST_SHOWN = 20


def story(played: Round) -> str:
    """Describes what a round did, broke and found, with the requests and log lines of some differences."""
    plan = played.plan
    counts = Counter(operation.action for operation in plan.operations)
    lines = [f"seed {plan.seed}: {plan.seconds:g} s, {', '.join(f'{n} {what}' for what, n in sorted(counts.items()))}"]
    lines += [f"{fault.at:6.1f} s: {fault}{_jump(fault)} for {fault.seconds:.1f} s" for fault in plan.faults]
    lines.append(f"  {_requests([played.record])}")
    if played.outages.recovery:
        lines.append(f"  ready again after {max(played.outages.recovery.values()):.1f} s at most")
    shown = played.differences[:_MOST_SHOWN]
    lines += [f"  {difference}" for difference in shown] or ["  nothing lost, doubled or oversold"]
    if len(played.differences) > len(shown):
        lines.append(f"  and {len(played.differences) - len(shown)} more")
    for difference, logged in played.stories.items():
        lines += [str(difference), *_sent(played.record, difference), *logged]
    return "\n".join(lines)


def table(rounds: Sequence[Round]) -> str:
    """For each fault how often there was one, what clients saw meanwhile, and how long until all was ready again."""
    met: dict[tuple[str, str], list[tuple[Fault, Round]]] = {}
    for played in rounds:
        for fault in played.plan.faults:
            met.setdefault((fault.kind, _sort_of(fault.target)), []).append((fault, played))
    found = sum(len(played.differences) for played in rounds)
    rows = [
        f"{len(rounds)} rounds, {sum(map(len, met.values()))} faults, "
        f"{_requests([played.record for played in rounds])}; {found} differences",
        "",
        "| fault | of | times | requests meanwhile | put off or failed | ready again, median | at most |",
        "|---|---|---:|---:|---:|---:|---:|",
        *(f"| {kind} | {target} | {_figures(faults)} |" for (kind, target), faults in sorted(met.items())),
    ]
    return "\n".join(rows)


def _figures(faults: Sequence[tuple[Fault, Round]]) -> str:
    meanwhile = [attempt for fault, played in faults for attempt in _meanwhile(played.record, fault)]
    not_served = sum(attempt.is_deferred or attempt.has_failed for attempt in meanwhile)
    recoveries = [played.outages.recovery.get(fault) for fault, played in faults]
    recovery = [seconds for seconds in recoveries if seconds is not None] or [0.0]
    ready = f"{statistics.median(recovery):.1f} s | {max(recovery):.1f} s"
    return f"{len(faults)} | {len(meanwhile)} | {not_served} | {ready}"


def _meanwhile(record: Record, fault: Fault) -> list[Attempt]:
    began, ended = record.lasted[fault]
    return [attempt for _, attempt in record.attempts() if attempt.began < ended and attempt.ended > began]


def _requests(records: Sequence[Record]) -> str:
    attempts = [attempt for _, attempt in chain.from_iterable(record.attempts() for record in records)]
    outcomes = Counter(_outcome(attempt) for attempt in attempts)
    return (
        f"{len(attempts)} requests: {', '.join(f'{count} {outcome}' for outcome, count in sorted(outcomes.items()))}"
    )


def _outcome(attempt: Attempt) -> str:
    if attempt.succeeded:
        return "done"
    return "without an answer" if attempt.status is None else f"answered {attempt.status}"


def _sent(record: Record, difference: Difference) -> Iterator[str]:
    for operation, attempt in record.attempts():
        if attempt.trace_id == difference.trace_id:
            yield f"{attempt.began:.3f} to {attempt.ended:.3f} s: {operation}: {attempt.status} {attempt.body}"


def _jump(fault: Fault) -> str:
    return f" by {fault.size:+g} s" if fault.size else ""


def _sort_of(target: str) -> str:
    """The target without the number of a replica."""
    return target.replace("-1", "").replace("-2", "").replace(">", " → ")
