"""Small line charts side by side as SVG, over one common axis, readable on light and on dark pages."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

COLUMNS, WIDTH, HEIGHT, TOP = 4, 240, 112, 44
MARGIN, HEAD = 12, 34
# Of a title at most so many characters wide; a longer one is written smaller.
FONT, TITLE = 11, 32
CURVE_WIDTH, CURVE_HEIGHT = WIDTH - 2 * MARGIN, HEIGHT - HEAD - 14
INK, FAINT, BLUE, RED = "#1f2933", "#9aa5b1", "#2f6f9f", "#b23b3b"


@dataclass(frozen=True)
class Panel:
    """One curve, drawn from zero to its highest value; `text` says in words what it shows."""

    title: str
    text: str
    points: Sequence[tuple[float, float]]
    alarming: bool = False


def curves(title: str, panels: Sequence[Panel], mark: float) -> str:
    """All x are from 0 on; a dashed line in each panel shows the x of `mark`."""
    full = max(1.0, *(x for panel in panels for x, _ in panel.points))
    width, height = COLUMNS * WIDTH, TOP + HEIGHT * -(-len(panels) // COLUMNS)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"',
        f'font-family="sans-serif" font-size="{FONT}">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{MARGIN}" y="28" font-size="16" fill="{INK}">{escape(title)}</text>',
    ]
    for number, panel in enumerate(panels):
        x, y = number % COLUMNS * WIDTH + MARGIN, TOP + number // COLUMNS * HEIGHT
        parts += [f'<g transform="translate({x} {y})">', *_drawn(panel, full, mark), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _drawn(panel: Panel, full: float, mark: float) -> Iterator[str]:
    """In a panel's own coordinates."""
    colour, bottom = RED if panel.alarming else BLUE, HEAD + CURVE_HEIGHT
    marked = CURVE_WIDTH * mark / full
    size = min(FONT, FONT * TITLE / len(panel.title)) if panel.title else FONT
    yield f'<text y="12" font-size="{size:.1f}" font-weight="bold" fill="{INK}">{escape(panel.title)}</text>'
    yield f'<text y="26" fill="{RED if panel.alarming else INK}">{escape(panel.text)}</text>'
    yield f'<path d="M0 {bottom}H{CURVE_WIDTH}" stroke="{FAINT}"/>'
    yield f'<path d="M{marked:.1f} {HEAD}V{bottom}" stroke="{FAINT}" stroke-dasharray="4 3"/>'
    yield f'<path d="{_line(panel.points, full)}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _line(points: Sequence[tuple[float, float]], full: float) -> str:
    highest = max((y for _, y in points), default=0) or 1
    corners = (
        f"{CURVE_WIDTH * x / full:.1f} {HEAD + CURVE_HEIGHT * (1 - max(0.0, y) / highest):.1f}" for x, y in points
    )
    return "M" + "L".join(corners)
