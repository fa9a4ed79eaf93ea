"""The services' log lines that belong to one trace, for a person to read."""

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from textwrap import indent

from tools.stack.processes import kept
from tools.stack.services import NAMES

# In a column of their own, or the same on every line of a trace.
NOT_REPEATED = {"timestamp", "level", "service", "event", "trace_id", "trace_ids", "span_id", "request_id"}
UNREMARKABLE = {"debug", "info"}


@dataclass(frozen=True)
class Line:
    time: datetime
    fields: dict[str, object]

    @property
    def service(self) -> str:
        return str(self.fields["service"])

    @property
    def identifiers(self) -> set[object]:
        """Trace ids and request id."""
        several = self.fields.get("trace_ids")
        return {
            self.fields.get("trace_id"),
            self.fields.get("request_id"),
            *(several if isinstance(several, list) else ()),
        }

    def __str__(self) -> str:
        """One line, unless a traceback belongs to it."""
        level = str(self.fields["level"])
        event = str(self.fields["event"]) if level in UNREMARKABLE else f"{level}: {self.fields['event']}"
        rest = {name: str(value) for name, value in self.fields.items() if name not in NOT_REPEATED}
        shown = "  ".join(f"{name}={value}" for name, value in rest.items() if "\n" not in value)
        tracebacks = "".join("\n" + indent(value, "    ") for value in rest.values() if "\n" in value)
        clock = self.time.isoformat(timespec="milliseconds")[11:23]
        return f"{clock}  {self.service:<9} {event:<15} {shown}".rstrip() + tracebacks


def find(folder: Path, identifier: str) -> list[Line]:
    """In time order; `identifier` is a trace id or a request id."""
    return search((path for log in _current(folder) for path in (kept(log), log)), {identifier})


def latest(folder: Path, identifier: str) -> list[Line]:
    """As `find`, of what has just happened: the logs that made room, which may be large, are not read."""
    return search(_current(folder), {identifier})


def search(paths: Iterable[Path], identifiers: Collection[str]) -> list[Line]:
    """As `find`, for each of the identifiers in the logs named; one that does not exist is passed over."""
    wanted = set(identifiers)
    lines = (line for path in paths for line in _read(path, wanted))
    return sorted((line for line in lines if wanted & line.identifiers), key=lambda line: line.time)


def tells_of(paths: Iterable[Path], event: str) -> bool:
    """Whether a line of one of the logs has that event."""
    return any(line.fields["event"] == event for path in paths for line in _read(path, {event}))


def _current(folder: Path) -> Iterator[Path]:
    return (folder / "log" / f"{name}.log" for name in NAMES)


def _read(path: Path, wanted: Collection[str]) -> Iterator[Line]:
    if not path.exists():
        return
    encoded = [text.encode() for text in wanted]
    with path.open("rb") as log:
        for text in log:
            if any(word in text for word in encoded) and (line := _parse(text)):
                yield line


def _parse(text: bytes) -> Line | None:
    """None for what is no log line of ours, such as a crash of the interpreter."""
    try:
        fields = json.loads(text)
        return Line(datetime.fromisoformat(fields["timestamp"]), fields) if "event" in fields else None
    except (ValueError, KeyError, TypeError):
        return None
