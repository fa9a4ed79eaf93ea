"""Bars as SVG, readable on light and on dark pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, ROW, LEFT, TOP = 720, 30, 150, 48
BAR = WIDTH - LEFT - 130


@dataclass(frozen=True)
class Bar:
    """`value` is drawn to the scale of `full`; `text` says what it is."""

    label: str
    value: float
    text: str


def bars(title: str, rows: Sequence[Bar], full: float, mark: float | None = None) -> str:
    """`mark` is a value that a vertical line shows."""
    height = TOP + ROW * len(rows) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"',
        'font-family="sans-serif" font-size="14">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="28" font-size="16" fill="#1f2933">{escape(title)}</text>',
    ]
    for number, row in enumerate(rows):
        y, width = TOP + ROW * number, max(1.0, BAR * min(1.0, row.value / full))
        parts += [
            f'<text x="{LEFT - 10}" y="{y + 17}" text-anchor="end" fill="#1f2933">{escape(row.label)}</text>',
            f'<rect x="{LEFT}" y="{y + 3}" width="{width:.1f}" height="{ROW - 10}" fill="#2f6f9f"/>',
            f'<text x="{LEFT + width + 8:.1f}" y="{y + 17}" fill="#1f2933">{escape(row.text)}</text>',
        ]
    if mark is not None:
        x = LEFT + BAR * min(1.0, mark / full)
        parts.append(f'<path d="M{x:.1f} {TOP - 4}V{height - 8}" stroke="#b23b3b" stroke-dasharray="4 3"/>')
    return "\n".join([*parts, "</svg>", ""])
