"""One order as a waterfall: what was done for its trace, where, when and for how long, from the logs alone."""

import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from rich.table import Table
from rich.text import Text

from tools.stack.logs import NOT_REPEATED, UNREMARKABLE, Line, with_event

_ORDERS = 1000
_BAR = 40
_BATCH, _REQUEST = "batch handled", "request"
# The queue in which an order gets its verdict.
_VERDICTS = "orders.stock"
_SHOWN_OF = {_REQUEST: ("method", "path", "status"), _BATCH: ("queue",)}
_NEVER_SHOWN = NOT_REPEATED | {"duration_ms", "client", "events", "queue", "exception"}


@dataclass(frozen=True)
class Step:
    """Something that a service did, or the time that an event waited for it. It is a `problem` if its log line is."""

    start: datetime
    end: datetime
    service: str
    what: str
    is_wait: bool = False
    is_problem: bool = False


def steps(lines: Iterable[Line]) -> list[Step]:
    """In the sequence of their starts. A log line is written at the end of a step; one without a duration has none."""
    done = sorted(map(_step, lines), key=lambda step: (step.start, -step.end.timestamp()))
    return sorted([*done, *_waits(done)], key=lambda step: (step.start, not step.is_wait))


def waterfall(trace_id: str, found: Sequence[Step]) -> Table:
    begin, end = min(step.start for step in found), max(step.end for step in found)
    table = Table(title=f"Trace {trace_id}", box=None, title_justify="left", padding=(0, 1), pad_edge=False)
    table.add_column("START", justify="right")
    table.add_column("SERVICE")
    table.add_column("STEP", overflow="fold", max_width=44)
    table.add_column("", no_wrap=True)
    table.add_column("DURATION", justify="right")
    for step in found:
        style = "red" if step.is_problem else "yellow" if step.is_wait else "green"
        table.add_row(
            _milliseconds(step.start - begin),
            step.service,
            Text(f"{'! ' if step.is_problem else ''}{step.what}", style="dim" if step.is_wait else ""),
            Text(_bar(step, begin, end), style=style),
            _milliseconds(step.end - step.start),
        )
    return table


def slowest(logs_of_orders: Iterable[Path]) -> str | None:
    """The trace of the slowest of the last thousand orders, from its request to its verdict; None without orders.

    Another replica than the one that placed an order may have got its verdict.
    """
    placed: dict[object, datetime] = {}
    seconds: deque[tuple[timedelta, str]] = deque(maxlen=_ORDERS)
    lines = (with_event(path, (_REQUEST, _BATCH)) for path in logs_of_orders)
    for line in heapq.merge(*lines, key=lambda line: line.time):
        fields = line.fields
        if (fields.get("method"), fields.get("path"), fields.get("status")) == ("POST", "/orders", 201):
            placed[fields["trace_id"]] = _step(line).start
        elif fields.get("queue") == _VERDICTS and isinstance(decided := fields.get("trace_ids"), list):
            seconds.extend((line.time - placed.pop(id_), id_) for id_ in decided if id_ in placed)
    return max(seconds)[1] if seconds else None


def _step(line: Line) -> Step:
    fields = line.fields
    duration = timedelta(milliseconds=float(str(fields.get("duration_ms", 0))))
    event = str(fields["event"])
    first = [str(fields[name]) for name in _SHOWN_OF.get(event, ()) if name in fields]
    rest = [f"{name}={fields[name]}" for name in fields if name not in {*_NEVER_SHOWN, *_SHOWN_OF.get(event, ())}]
    what = " ".join([*([] if event == _REQUEST else [event]), *first, *rest])
    is_problem = fields["level"] not in UNREMARKABLE
    return Step(line.time - duration, line.time, line.service, what, is_problem=is_problem)


def _waits(done: Sequence[Step]) -> Iterable[Step]:
    """Before each batch: from the last thing that another service finished, in the outbox and in the queue."""
    for step in done:
        before = [each.end for each in done if each.service != step.service and each.end <= step.start]
        if step.what.startswith(_BATCH) and before:
            queue = step.what.removeprefix(_BATCH).split()[0]
            yield Step(max(before), step.start, step.service, f"waits in outbox and {queue}", is_wait=True)


def _bar(step: Step, begin: datetime, end: datetime) -> str:
    """At least one character, in a field of `_BAR`."""
    whole = (end - begin).total_seconds() or 1.0
    first = min(_BAR - 1, round((step.start - begin).total_seconds() / whole * _BAR))
    length = max(1, round((step.end - step.start).total_seconds() / whole * _BAR))
    return " " * first + ("·" if step.is_wait else "█") * min(length, _BAR - first)


def _milliseconds(time: timedelta) -> str:
    return f"{time.total_seconds() * 1e3:,.1f} ms"
