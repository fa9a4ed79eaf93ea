"""Whether a figure stays level while orders pass: a least-squares line through its samples after the warm-up."""

import bisect
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from tools.bench.costs import MIB
from tools.bench.samples import BYTES, Kind, Sample
from tools.stack.errors import StackError

# The share of all orders that fills caches, pools and tables for the first time.
WARM_UP = 0.1
FEWEST = 3
SHARE = 0.05
# How far a figure may rise until the end all the same: it varies by so much when nothing is wrong.
ROOM: Mapping[Kind, float] = MappingProxyType(
    {
        Kind.MEMORY: 2 * MIB,
        Kind.OPEN_FILES: 32,  # idle connections from service to service come and go
        Kind.CONNECTIONS: 2,
        Kind.QUEUE: 50,
        Kind.OUTBOX_ROWS: 100,
        Kind.OUTBOX_SIZE: 16 * MIB,  # it holds the rows of the busiest minute between two autovacuums
        Kind.CACHE: 2 * MIB,
    }
)
EACH = 100_000


@dataclass(frozen=True)
class Trend:
    """A figure's first value, and those after the warm-up, each with the number of orders before it."""

    kind: Kind
    part: str
    start: float
    orders: Sequence[int]
    values: Sequence[float]

    def __str__(self) -> str:
        return f"{self.kind}, {self.part}"

    @property
    def slope(self) -> float:
        """By order."""
        return statistics.linear_regression(self.orders, self.values).slope

    @property
    def rise(self) -> float:
        return self.slope * (self.orders[-1] - self.orders[0])

    @property
    def is_flat(self) -> bool | None:
        """None for a figure that grows with the orders by design, or that means nothing alone."""
        if self.kind not in ROOM:
            return None
        return self.rise <= max(SHARE * statistics.fmean(self.values), ROOM[self.kind])

    def line(self) -> str:
        shown = (self.start, self.values[0], self.values[-1], max(self.values))
        values = "".join(f"{self._shown(value):>9}" for value in shown)
        slope, rise = self._shown(self.slope * EACH, "+"), self._shown(self.rise, "+")
        verdict = {True: "flat", False: "NOT FLAT", None: ""}[self.is_flat]
        if self.kind is Kind.TABLE_SIZE:
            verdict = f"{self.slope:,.0f} bytes an order"
        return f"{str(self) + ', MiB' * (self.kind in BYTES):<48}{values}{slope:>13}{rise:>9}  {verdict}".rstrip()

    def _shown(self, value: float, sign: str = "") -> str:
        if self.kind in BYTES:
            return f"{value / MIB:{sign}z,.1f}"
        return f"{value:{sign}z,.{0 if value == int(value) else 1}f}"


def trends(samples: Sequence[Sample]) -> list[Trend]:
    """Raises StackError if there are too few samples after the warm-up."""
    orders = [sample.newest_order - samples[0].newest_order for sample in samples]
    first = bisect.bisect_left(orders, WARM_UP * orders[-1])
    if len(set(orders[first:])) < FEWEST:
        raise StackError("too few samples after the warm-up: send more orders, or sample more often (--every)")
    return [
        Trend(
            kind,
            part,
            samples[0].figures[kind, part],
            orders[first:],
            [s.figures[kind, part] for s in samples[first:]],
        )
        for kind, part in sorted(samples[-1].figures, key=lambda figure: list(Kind).index(figure[0]))
    ]


def table(found: Sequence[Trend]) -> Iterator[str]:
    yield f"{'':<48}{'start':>9}{'warm':>9}{'end':>9}{'highest':>9}{f'per {EACH:,}':>13}{'rise':>9}"
    yield from (row.line() for row in found)
    yield f"\nwarm: after {WARM_UP:.0%} of the orders, where the least-squares line with the slope and the rise begins"
    rooms = (f"{room / MIB:.0f} MiB ({kind})" if kind in BYTES else f"{room} ({kind})" for kind, room in ROOM.items())
    yield f"flat: that line rises by at most {SHARE:.0%} of the mean, or by {', '.join(rooms)}\n"
    growing = [str(row) for row in found if row.is_flat is False]
    yield f"not flat: {'; '.join(growing)}" if growing else "all that must not grow is flat"
