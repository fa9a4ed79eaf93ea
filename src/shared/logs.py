"""Structured logs: one JSON object per line on stdout, connected by the trace id."""

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from queue import SimpleQueue
from threading import Thread
from types import MappingProxyType

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

from shared import metrics, tracing

# What every line of the current work names besides its trace.
about: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))

_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE
_MOST_BYTES = 4 * 1024 * 1024
_PAUSE = 0.01  # after each write and each try, so that lines go out together
_LAST_LINES = 2.0
# The statuses of refusals, of each of which so many lines of a kind are written in a second.
_REFUSALS = frozenset({*range(400, 500), 503, 505})
_MOST_ALIKE = 10


def to_stdout(level: str, about_process: Mapping[str, str]) -> AbstractContextManager[object]:
    """Sends structlog and the standard library's logging to stdout, from `level` up; its end takes at most 2 s."""
    number = logging.getLevelNamesMapping()[level.upper()]
    lines = _Lines(sys.stdout.fileno())
    lines.start()
    structlog.configure(
        processors=[Sampling(), partial(_stamp, about_process), _render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
    # The INFO lines of aiormq and asyncio repeat what this project logs itself.
    logging.basicConfig(handlers=[_Forward()], level=max(number, logging.WARNING), force=True)
    return closing(lines)


class _Lines(Thread):
    """Takes lines, and writes them in a thread: a disk or a pipe that stalls or fails must stop nothing else."""

    def __init__(self, file: int) -> None:
        super().__init__(name="log lines", daemon=True)
        # Has no lock that could stand still: the garbage collector may log while a line is added.
        self._file, self._waiting, self._closed = file, SimpleQueue[bytes](), False
        self._added = self._taken = self._lost = 0  # bytes, bytes, lines

    def add(self, line: bytes) -> None:
        if self._added - self._taken > _MOST_BYTES:
            self._lost += 1
            metrics.LOG_LINES_LOST.inc()
        else:
            self._added += len(line)
            self._waiting.put(line)

    debug = info = warning = error = critical = add

    def run(self) -> None:
        told, get = 0, self._waiting.get
        while not self._closed or not self._waiting.empty():
            rest = memoryview(b"".join([get(), *(get() for _ in range(self._waiting.qsize()))]))
            self._taken += len(rest)
            if lost := self._lost - told:
                told += lost
                structlog.get_logger().error("log lines lost", lines=lost)
            while rest:
                with suppress(OSError):  # a full disk, or a reader that is gone, may come back
                    rest = rest[os.write(self._file, rest) :]
                time.sleep(_PAUSE)

    def close(self) -> None:
        self._closed = True
        self._waiting.put(b"")
        self.join(_LAST_LINES)


class Sampling:
    """Leaves out most of a flood of refusals; the next line of that event and status says how many: `left_out`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[tuple[str, int], tuple[int, int]] = {}  # a second, and how many lines came in it

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        kind, now = (event["event"], event.get("status", 0)), int(self._clock())
        if kind[1] not in _REFUSALS:
            return event
        second, lines = self._seen.get(kind, (now, 0))
        self._seen[kind] = now, lines + 1 if second == now else 1
        if second == now and lines >= _MOST_ALIKE:
            raise structlog.DropEvent
        left_out = 0 if second == now else lines - _MOST_ALIKE
        return {**event, "left_out": left_out} if left_out > 0 else event


def _stamp(about_process: Mapping[str, str], _logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Puts the fields that every line has first, so that they are easy to find."""
    line: EventDict = {"timestamp": datetime.now(UTC), "level": method, **about_process, "event": event["event"]}
    trace = tracing.current.get()
    if trace is not None:
        line["trace_id"] = trace.trace_id
        line["span_id"] = trace.span_id
        line["request_id"] = trace.request_id
    line.update(about.get())
    line.update(event)
    return structlog.processors.format_exc_info(None, method, line) if "exc_info" in line else line


def _render(_logger: WrappedLogger, _method: str, event: EventDict) -> bytes:
    try:
        return orjson.dumps(event, default=repr, option=_OPTIONS)
    except orjson.JSONEncodeError:  # a log call must never break the work that it reports
        return orjson.dumps({name: _writable(value) for name, value in event.items()}, option=_OPTIONS)


def _writable(value: object) -> object:
    if isinstance(value, datetime):
        return value
    return (value if isinstance(value, str) else repr(value)).encode(errors="replace").decode()


class _Forward(logging.Handler):
    """Writes the records of the standard library's logging as lines of the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger()
        logger.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)
