"""The answer of a command: one JSON document for programs, a table for people."""

import re
import sys
import textwrap
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any, Self

import orjson

_OPTIONS = orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
_WIDEST_CELL, _WIDEST_TABLE = 80, 100
# Of each kind of difference and step, unless more are asked for.
SHOWN = 5
# Seconds between two reports of progress.
_ON_TERMINAL, _IN_PIPE = 0.2, 10.0
_CLEAR_LINE = "\r\x1b[K"


@dataclass(frozen=True, slots=True)
class Answer:
    """`ok` is False if there are differences, or if not everything was done as asked."""

    document: Mapping[str, Any]
    text: str
    ok: bool = True

    def render(self, *, as_json: bool) -> bytes:
        if as_json:
            return orjson.dumps(self.document, option=_OPTIONS)
        return f"{self.text}\n".encode(errors="backslashreplace")


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Left-aligned columns within 100 characters; long cells are cut, and `--json` shows them whole.

    The widest cells go on in the next line where a space is: an id stays whole, for whoever copies it.
    """
    lines = [headings, *([_cell(value) for value in row] for row in rows)]
    columns = list(zip(*lines, strict=True))
    widths = [max(map(len, column)) for column in columns]
    narrowest = [max(len(word) for cell in column for word in cell.split(" ")) for column in columns]
    while sum(widths) + 2 * (len(widths) - 1) > _WIDEST_TABLE and widths != narrowest:
        _, widest = max((width, index) for index, width in enumerate(widths) if width > narrowest[index])
        widths[widest] -= 1
    return "\n".join(
        "  ".join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip()
        for line in lines
        for parts in zip_longest(*map(_wrapped, line, widths), fillvalue="")
    )


def tables(headings: Sequence[str], rows: Iterable[Sequence[object]], most: int | None = None) -> str:
    """A table for each value of the first column, with how many there are and the first `most` of them."""
    groups: dict[object, list[Sequence[object]]] = defaultdict(list)
    for name, *row in rows:
        groups[name].append(row)
    return "\n\n".join(
        f"{name}: {len(group)}{f', of which {most} are shown' if most and len(group) > most else ''}\n"
        f"{table(headings[1:], group[:most])}"
        for name, group in groups.items()
    )


class Progress:
    """Says on stderr how far long work is: on a terminal in one line, in a pipe with one every ten seconds."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._on_terminal = sys.stderr.isatty()
        self._began = self._said = time.monotonic()

    def advance(self, rows: int = 1) -> None:
        self._done += rows
        now = time.monotonic()
        if now - self._said >= (_ON_TERMINAL if self._on_terminal else _IN_PIPE):
            self._said = now
            line = progress_line(self._what, self._done, self._total, now - self._began)
            self._say(f"{_CLEAR_LINE}{line}" if self._on_terminal else f"{line}\n")

    def _say(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._on_terminal:
            self._say(_CLEAR_LINE)


def progress_line(what: str, done: int, total: int, seconds: float) -> str:
    """`total` may have been counted before there were more."""
    left = max(0, total - done) * seconds / done
    return f"{what}: {done:,} of {total:,} rows, {done / seconds:,.0f}/s, {left:.0f} s left"


def as_json(item: Any) -> dict[str, Any]:
    """The fields of a dataclass under their names in camel case."""
    return {re.sub("_(.)", lambda found: found[1].upper(), name): value for name, value in asdict(item).items()}


def printable(text: str) -> str:
    """Escapes control characters, so that the content of a queue cannot steer the operator's terminal."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _cell(value: object) -> str:
    text = "-" if value is None else printable(str(value))
    return text if len(text) <= _WIDEST_CELL else f"{text[: _WIDEST_CELL - 1]}…"


def _wrapped(cell: str, width: int) -> list[str]:
    return textwrap.wrap(cell, width, break_long_words=False, break_on_hyphens=False)
