"""Whether a figure stays where it is while orders pass: least squares through its samples after the warm-up."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from tools.bench.samples import Kind, Sample
from tools.stack.errors import StackError

MIB = 1024 * 1024
# The part of all orders that fills caches, pools and tables for the first time.
WARM_UP = 0.1
FEWEST = 3
SHARE = 0.05
# By how much a figure may rise all the same, until the end: what it varies by when nothing is wrong.
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

Point = tuple[float, float]


@dataclass(frozen=True)
class Trend:
    """Of one figure over orders; `slope` is by order, `rise` what it makes from the end of the warm-up on."""

    kind: Kind
    of: str
    points: Sequence[Point]
    start: float
    warm: float
    end: float
    highest: float
    level: float
    slope: float
    rise: float

    @property
    def is_flat(self) -> bool | None:
        """None for what grows with the orders by design, or says nothing alone."""
        if self.kind not in ROOM:
            return None
        return self.rise <= max(SHARE * self.level, ROOM[self.kind])


def trends(samples: Sequence[Sample]) -> list[Trend]:
    """StackError if there are too few samples after the warm-up."""
    warm = {sample.orders for sample in samples if sample.orders >= WARM_UP * samples[-1].orders}
    if len(warm) < FEWEST:
        raise StackError(f"{len(warm)} samples after the warm-up say nothing: more orders, or more samples (--every)")
    return [
        trend(kind, of, [(sample.orders, sample.figures[kind][of]) for sample in samples])
        for kind, figures in samples[-1].figures.items()
        for of in figures
    ]


def trend(kind: Kind, of: str, points: Sequence[Point]) -> Trend:
    """Of points in the order they were taken, at least two of them after the warm-up."""
    total = points[-1][0]
    warm = [point for point in points if point[0] >= WARM_UP * total]
    orders, values = zip(*warm, strict=True)
    slope = statistics.linear_regression(orders, values).slope
    return Trend(
        kind=kind,
        of=of,
        points=points,
        start=points[0][1],
        warm=values[0],
        end=values[-1],
        highest=max(values),
        level=statistics.fmean(values),
        slope=slope,
        rise=slope * (total - orders[0]),
    )
