import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

import pytest
import structlog

from shared import logs, tracing

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def process() -> Iterator[ExitStack]:
    """Ends what a test enters it with; the set-up of logs that the other tests run with comes back."""
    root = logging.getLogger()
    handlers, level, before = root.handlers[:], root.level, structlog.get_config()
    root.handlers.clear()
    with ExitStack() as process:
        yield process
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)


def begin(process: ExitStack, stdout: TextIO) -> None:
    """Sends the logs there until the process ends."""
    process.enter_context(stdout)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        process.enter_context(logs.to_stdout("info", {"service": "orders"}))


@pytest.fixture
def lines(process: ExitStack, tmp_path: Path) -> Lines:
    """What the process has written to stdout by its end."""
    stdout = tmp_path / "stdout"
    begin(process, stdout.open("w"))

    def end() -> list[dict[str, Any]]:
        process.close()
        return [json.loads(line) for line in stdout.read_text().splitlines()]

    return end


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


def test_lines_that_a_pipe_takes_in_parts_stay_whole_and_in_order(process: ExitStack) -> None:
    """Somebody who shares it has made it non-blocking, so a write takes only what fits."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    begin(process, os.fdopen(writer, "w"))
    for number in range(300):
        structlog.get_logger().info("event", number=number, fill="x" * 1000)
    with os.fdopen(reader) as pipe:
        assert [json.loads(pipe.readline())["number"] for _ in range(300)] == list(range(300))


def test_of_a_flood_of_refusals_the_first_of_each_second_are_written_and_the_others_counted() -> None:
    """Of each event and status apart; whatever was done, or may have been, has its line."""
    now = 7.0
    sample = logs.Sampling(lambda: now)

    def written(event: str, status: int, times: int) -> list[int]:
        """How many lines each of those that are written says were left out."""
        found = []
        for number in range(times):
            with suppress(structlog.DropEvent):
                line = sample(None, "info", {"event": event, "status": status, "path": f"/{number}"})
                found.append(line.get("left_out", 0))
        return found

    assert written("request", 404, 1_000) == [0] * 10
    assert written("request", 503, 11) == written("request failed", 503, 11) == [0] * 10
    assert [len(written("request", status, 99)) for status in (200, 304, 500, 502, 504)] == [99] * 5
    now = 8.0
    assert written("request", 404, 12) == [990, *[0] * 9]
    now = 60.0
    assert written("request", 404, 1) == [2]
