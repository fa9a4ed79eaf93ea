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


def test_a_line_names_what_the_work_is_about(lines: Lines) -> None:
    token = logs.about.set({"client": "192.0.2.1", "key_name": "checkout"})
    structlog.get_logger().info("first", order_id=7)
    logs.about.reset(token)
    structlog.get_logger().info("second")
    first, second = lines()
    assert list(first)[3:] == ["event", "client", "key_name", "order_id"]
    assert (first["client"], first["key_name"]) == ("192.0.2.1", "checkout")
    assert list(second)[3:] == ["event"]


def test_a_traceback_stays_on_its_line(lines: Lines) -> None:
    try:
        int("first line\nsecond line")
    except ValueError:
        structlog.get_logger().exception("request crashed")
    (line,) = lines()
    assert line["level"] == "error"
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith(r"ValueError: invalid literal for int() with base 10: 'first line\nsecond line'")


def test_values_that_json_does_not_have_break_neither_the_caller_nor_the_line(lines: Lines) -> None:
    structlog.get_logger().info("event", value=b"raw", names={1: "one"})
    structlog.get_logger().info("event", name="\ud800", number=1 << 70)
    known, unknown = lines()
    assert (known["value"], known["names"]) == ("b'raw'", {"1": "one"})
    assert [unknown[name] for name in ("event", "level", "name", "number")] == ["event", "info", "?", str(1 << 70)]


def test_lines_below_the_level_and_chatter_of_libraries_are_left_out(lines: Lines) -> None:
    structlog.get_logger().debug("not shown")
    structlog.get_logger().info("shown")
    logging.getLogger("aiormq").info("chatter")
    logging.getLogger("aiormq").warning("closed by %s", "peer")
    own, other = lines()
    assert list(own) == ["timestamp", "level", "service", "event"]  # and no trace outside of a request
    expected = ("warning", "orders", "closed by peer", "aiormq")
    assert expected == (other["level"], other["service"], other["event"], other["logger"])
