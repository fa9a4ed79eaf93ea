"""Structured logs: one JSON object per line on stdout, connected by the trace id."""

import logging
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from shared import tracing

# What every line of the current work names besides its trace.
about: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))

_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS


def configure(service: str, level: str) -> None:
    """Sends structlog and the standard library's logging to stdout, from `level` up."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[_stamp(service), structlog.processors.format_exc_info, _render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.BytesLoggerFactory(file=sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )
    # The INFO lines of aiormq and asyncio repeat what this project logs itself.
    logging.basicConfig(handlers=[_Forward()], level=max(number, logging.WARNING), force=True)


def _stamp(service: str) -> Processor:
    """Puts the fields that every line has first, so that they are easy to find."""

    def stamp(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        line: dict[str, Any] = {
            "timestamp": datetime.now(UTC),
            "level": method,
            "service": service,
            "event": event.pop("event"),
        }
        trace = tracing.current.get()
        if trace is not None:
            line["trace_id"] = trace.trace_id
            line["span_id"] = trace.span_id
            line["request_id"] = trace.request_id
        line.update(about.get())
        line.update(event)
        return line

    return stamp


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
