"""The answer of a command: one JSON document for programs, a table for people."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

_OPTIONS = orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
_WIDEST = 80


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
    """Left-aligned columns; long cells are cut, and `--json` shows them whole."""
    lines = [headings, *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def as_json(item: Any) -> dict[str, Any]:
    """The fields of a dataclass under their names in camel case."""
    return {re.sub("_(.)", lambda found: found[1].upper(), name): value for name, value in asdict(item).items()}


def printable(text: str) -> str:
    """Escapes control characters, so that the content of a queue cannot steer the operator's terminal."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _cell(value: object) -> str:
    text = "-" if value is None else printable(str(value))
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"
