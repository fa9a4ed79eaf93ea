"""For how long nobody could order, by kind of fault, and what clients were told meanwhile."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tools.cluster.plan import Fault, Kind
from tools.faults.evidence import Difference, time_of
from tools.faults.record import Attempt, Record
from tools.faults.state import Json

_MOST_SHOWN = 10
_HEAD = (
    "| fault | of | times | longest without an order | may be | until done, at most | healthy again after "
    "| requests | put off | failed |\n|---|---|---:|---:|---:|---:|---:|---:|---:|---:|"
)


@dataclass(slots=True)
class Played:
    """A fault and what came of it. Times are seconds since the beginning of the load."""

    fault: Fault
    record: Record
    began: float = 0.0
    healthy: float = 0.0
    """From its healing until the cluster was whole again."""
    orders: Mapping[int, Json] = field(default_factory=dict)
    """As they are in the end."""
    differences: list[Difference] = field(default_factory=list)

    @property
    def gap(self) -> float:
        """The longest time between two answers 201, to orders that are done in the end, of those that overlap the
        fault or follow it. The end of the load counts as an answer, so that a gap that does not end is seen.
        """
        placed: dict[int, float] = {}
        for _, attempt in self.record.attempts():
            if attempt.accepted_id is not None:
                placed.setdefault(attempt.accepted_id, attempt.ended)  # a repeat under a key places nothing
        times = [0.0, *sorted(placed[id_] for id_ in placed.keys() & {order["id"] for order in self._done})]
        end = max((operation.at for operation, _ in self.record.attempts()), default=self.began)
        return max(
            later - earlier for earlier, later in pairwise([*times, max(end, times[-1])]) if later >= self.began
        )

    @property
    def slowest(self) -> float:
        """The longest time from the placing of an order to its end, of those without a hold."""
        orders = (order for order in self._done if not order["expiresAt"])
        return max((time_of(order["updatedAt"]) - time_of(order["createdAt"]) for order in orders), default=0.0)

    @property
    def meanwhile(self) -> list[Attempt]:
        """What was sent from the fault's beginning on, or was not answered then."""
        return [attempt for _, attempt in self.record.attempts() if attempt.ended > self.began]

    @property
    def put_off(self) -> int:
        """Requests that were told to come again, with `Retry-After`."""
        return sum(attempt.is_deferred for attempt in self.meanwhile)

    @property
    def failed(self) -> list[Attempt]:
        return [attempt for attempt in self.meanwhile if attempt.has_failed]

    @property
    def breaches(self) -> Iterator[str]:
        if self.gap > self.fault.limit:
            yield f"{self.gap:.1f} s without an order, not {self.fault.limit:g} s"
        if self.fault.kind is Kind.ROLL:
            for what, count in Counter(_answer(attempt) for attempt in self.failed).items():
                yield f"{count} requests failed: {what}"
        yield from map(str, self.differences)

    @property
    def _done(self) -> list[Json]:
        return [order for order in self.orders.values() if order["status"] == "done"]


def story(played: Played) -> str:
    """One line for a fault, and one for each promise that was not kept."""
    told = (
        f"{played.fault}: {played.gap:.1f} s without an order, healthy {played.healthy:.1f} s after it; "
        f"{len(played.meanwhile)} requests, {played.put_off} put off, {len(played.failed)} failed"
    )
    breaches = list(played.breaches)
    more = [f"and {len(breaches) - _MOST_SHOWN} more"] if len(breaches) > _MOST_SHOWN else []
    return "\n  ".join([told, *breaches[:_MOST_SHOWN], *more])


def table(faults: Sequence[Played]) -> str:
    """In Markdown: a row for each kind of fault and sort of target, with the worst of its figures."""
    rows: dict[tuple[str, str], list[Played]] = {}
    for played in faults:
        sort = re.sub(r"-\d$", "", re.sub(r"\w+\.\w+$", "a queue", played.fault.target))
        rows.setdefault((played.fault.kind, sort), []).append(played)
    shown = (f"| {kind} | {target} | {_figures(each)} |" for (kind, target), each in sorted(rows.items()))
    return "\n".join([_HEAD, *shown])


def _answer(attempt: Attempt) -> str:
    return attempt.error or f"{attempt.status} {attempt.code}"


def _figures(each: Sequence[Played]) -> str:
    seconds = zip(*((one.gap, one.fault.limit, one.slowest, one.healthy) for one in each), strict=True)
    counts = zip(*((len(one.meanwhile), one.put_off, len(one.failed)) for one in each), strict=True)
    shown = [*(f"{max(figures):.1f} s" for figures in seconds), *(str(sum(figures)) for figures in counts)]
    return " | ".join([str(len(each)), *shown])
