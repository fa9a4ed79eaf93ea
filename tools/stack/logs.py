"""The services' log lines that belong to one trace, for a person to read."""

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from textwrap import indent

from tools.stack.services import NAMES

# These have a column of their own, or are the same on every line of a trace.
NOT_REPEATED = {"timestamp", "level", "service", "event", "trace_id", "trace_ids", "span_id", "request_id"}
UNREMARKABLE = {"debug", "info"}


@dataclass(frozen=True)
class Line:
    time: datetime
    fields: dict[str, object]

    @property
    def service(self) -> str:
        return str(self.fields["service"])

    def belongs_to(self, identifiers: Collection[str]) -> bool:
        """Whether it has one of them as a trace id or as its request id."""
        several = self.fields.get("trace_ids")
        own = [self.fields.get("trace_id"), self.fields.get("request_id")]
        return any(name in identifiers for name in (own + several if isinstance(several, list) else own))

    def __str__(self) -> str:
        """One line, unless a traceback belongs to it."""
        level = str(self.fields["level"])
        event = str(self.fields["event"]) if level in UNREMARKABLE else f"{level}: {self.fields['event']}"
        rest = {name: str(value) for name, value in self.fields.items() if name not in NOT_REPEATED}
        shown = "  ".join(f"{name}={value}" for name, value in rest.items() if "\n" not in value)
        tracebacks = "".join("\n" + indent(value, "    ") for value in rest.values() if "\n" in value)
        clock = self.time.isoformat(timespec="milliseconds")[11:23]
        return f"{clock}  {self.service:<9} {event:<15} {shown}".rstrip() + tracebacks


def current(folder: Path, names: Iterable[str] = NAMES) -> list[Path]:
    """The services' logs, of every replica, without those that have made room for them and may be large."""
    return [path for name in names for end in ("", "-[0-9]") for path in (folder / "log").glob(f"{name}{end}.log")]


def search(paths: Iterable[Path], identifiers: Collection[str]) -> list[Line]:
    """In time order; each identifier is a trace id or a request id, and a file that does not exist is passed over."""
    lines = (line for path in paths for line in _read(path, identifiers))
    return sorted((line for line in lines if line.belongs_to(identifiers)), key=lambda line: line.time)


def with_event(path: Path, events: Collection[str]) -> Iterator[Line]:
    """The lines of a log that have one of those events."""
    return (line for line in _read(path, events) if line.fields["event"] in events)


def _read(path: Path, words: Collection[str]) -> Iterator[Line]:
    if not path.exists():
        return
    encoded = [word.encode() for word in words]
    with path.open("rb") as log:
        for text in log:
            if any(word in text for word in encoded) and (line := _parse(text)):
                yield line


def _parse(text: bytes) -> Line | None:
    """None for what is not a service's log line, such as a crash of the interpreter."""
    try:
        fields = json.loads(text)
        return Line(datetime.fromisoformat(fields["timestamp"]), fields) if "event" in fields else None
    except (ValueError, KeyError, TypeError):
        return None
