"""Trends as a table and as a chart for people."""

from collections.abc import Iterator, Sequence

from tools.bench.curves import Panel, curves
from tools.bench.samples import BYTES, Kind
from tools.bench.trends import ROOM, SHARE, WARM_UP, Trend

MIB = 1024 * 1024
EACH = 100_000
DRAWN = (*ROOM, Kind.TABLE_SIZE, Kind.DEAD_ROWS)


def as_text(found: Sequence[Trend]) -> str:
    return "\n".join([*_table(found), "", _rule(), "", _ending(found)])


def _table(found: Sequence[Trend]) -> Iterator[str]:
    yield f"{'':<48}{'start':>9}{'warm':>9}{'end':>9}{'highest':>9}{f'per {EACH:,}':>13}{'rise':>9}"
    for row in found:
        values = (row.start, row.warm, row.end, row.highest)
        figures = "".join(f"{_shown(row.kind, value):>9}" for value in values)
        slope, rise = _shown(row.kind, row.slope * EACH, "+"), _shown(row.kind, row.rise, "+")
        unit = ", MiB" * (row.kind in BYTES)
        yield f"{f'{row.kind}, {row.of}{unit}':<48}{figures}{slope:>13}{rise:>9}  {_verdict(row)}".rstrip()


def _verdict(row: Trend) -> str:
    if row.is_flat is not None:
        return "flat" if row.is_flat else "NOT FLAT"
    return f"{row.slope:,.0f} bytes an order" if row.kind is Kind.TABLE_SIZE else ""


def _rule() -> str:
    rooms = (f"{_shown(kind, room)}{' MiB' * (kind in BYTES)} ({kind})" for kind, room in ROOM.items())
    return (
        f"warm: after {WARM_UP:.0%} of the orders, from where a least-squares line has the slope and the rise shown\n"
        f"flat: that line rises by at most {SHARE:.0%} of the mean, or by {', '.join(rooms)}"
    )


def _ending(found: Sequence[Trend]) -> str:
    growing = [f"{row.kind} of {row.of}" for row in found if row.is_flat is False]
    return f"not flat: {', '.join(growing)}" if growing else "all that must not grow is flat"


def as_chart(found: Sequence[Trend]) -> str:
    """SVG; what says nothing over orders is left out."""
    panels = [_panel(row) for row in found if row.kind in DRAWN]
    orders = found[0].points[-1][0]
    return curves(f"{orders:,.0f} orders, left to right; dashed: end of the warm-up", panels, mark=WARM_UP * orders)


def _panel(row: Trend) -> Panel:
    unit = " MiB" * (row.kind in BYTES)
    text = f"{_shown(row.kind, row.end)}{unit}, {_shown(row.kind, row.slope * EACH, '+')} per {EACH:,}"
    return Panel(f"{row.kind}, {row.of}", text, row.points, alarming=row.is_flat is False)


def _shown(kind: Kind, value: float, sign: str = "") -> str:
    """Without its unit, which is MiB for bytes."""
    return f"{value / MIB:{sign}z,.1f}" if kind in BYTES else f"{value:{sign}z,.{0 if value == int(value) else 1}f}"
