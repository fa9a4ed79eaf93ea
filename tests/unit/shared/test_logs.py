import io
import logging
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
import structlog

from shared import logs, tracing

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What the process would have written to stdout; the set-up that the other tests run with comes back."""
    written = io.BytesIO()
    stdout = io.TextIOWrapper(written)
    root = logging.getLogger()
    handlers, level, before = root.handlers[:], root.level, structlog.get_config()
    root.handlers.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        logs.configure("orders", "info")
    yield lambda: [orjson.loads(line) for line in written.getvalue().splitlines()]
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def trace() -> Iterator[tracing.Trace]:
    trace = tracing.begin()
    token = tracing.current.set(trace)
    yield trace
    tracing.current.reset(token)


def test_a_line_starts_with_what_every_line_has(lines: Lines, trace: tracing.Trace) -> None:
    structlog.get_logger().info("order placed", order_id=7)
    (line,) = lines()
    timestamp = line.pop("timestamp")
    expected = {
        "level": "info",
        "service": "orders",
        "event": "order placed",
        "trace_id": trace.trace_id,
        "span_id": trace.span_id,
        "request_id": trace.request_id,
        "order_id": 7,
    }
    assert list(expected) == list(line)
    assert expected == line
    assert timestamp.endswith("Z")
    assert datetime.now(UTC) - datetime.fromisoformat(timestamp) < timedelta(minutes=1)


def test_outside_of_a_request_there_is_no_trace(lines: Lines) -> None:
    structlog.get_logger().info("listening")
    (line,) = lines()
    assert list(line) == ["timestamp", "level", "service", "event"]


def test_a_traceback_stays_on_its_line(lines: Lines) -> None:
    try:
        int("first line\nsecond line")
    except ValueError:
        structlog.get_logger().exception("request crashed")
    (line,) = lines()
    assert line["level"] == "error"
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith(r"ValueError: invalid literal for int() with base 10: 'first line\nsecond line'")


def test_what_json_does_not_know_is_shown_as_python_does(lines: Lines) -> None:
    structlog.get_logger().info("event", value=b"raw", names={1: "one"})
    (line,) = lines()
    assert (line["value"], line["names"]) == ("b'raw'", {"1": "one"})


def test_what_json_cannot_hold_breaks_neither_the_caller_nor_the_line(lines: Lines) -> None:
    structlog.get_logger().info("event", name="\ud800", number=1 << 70)
    (line,) = lines()
    assert (line["event"], line["level"], line["name"], line["number"]) == ("event", "info", "?", str(1 << 70))


def test_lines_below_the_level_are_left_out(lines: Lines) -> None:
    structlog.get_logger().debug("not shown")
    structlog.get_logger().warning("shown")
    assert [line["event"] for line in lines()] == ["shown"]


def test_records_of_the_standard_library_come_as_lines_of_ours(lines: Lines) -> None:
    logging.getLogger("aiormq").info("chatter")
    logging.getLogger("aiormq").warning("closed by %s", "peer")
    (line,) = lines()
    expected = ("warning", "orders", "closed by peer", "aiormq")
    assert expected == (line["level"], line["service"], line["event"], line["logger"])
