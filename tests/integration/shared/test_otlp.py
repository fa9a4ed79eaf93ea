"""What is recorded, and what becomes of it."""

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from shared import metrics, tracing
from shared.otlp import Recorder
from tests.collector import Collector
from tests.waiting import eventually

TRACES = ["a" * 32, "b" * 32]
PARENT = "1" * 16
SINCE = "2026-11-28T12:00:00.25Z"


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    collector = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    async with collector.listening():
        yield collector


def lost() -> float:
    [metric] = metrics.SPANS_LOST.collect()
    return metric.samples[0].value


async def test_each_event_of_a_batch_has_a_span_in_its_own_trace(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one for its wait, also if it fails. Events that are not sampled, or have no trace, have none."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    recorder = Recorder("orders")
    first, second = (f"00-{trace_id}-{PARENT}-01" for trace_id in TRACES)
    events = [(None, SINCE), (first, SINCE), (second, "at noon"), (f"00-{'c' * 32}-{PARENT}-00", SINCE)]
    with (
        suppress(TimeoutError),
        recorder.messages("process", "shop.events:orders.stock", events),
        recorder.span("DEL", {}),
    ):
        raise TimeoutError
    await asyncio.to_thread(recorder.close)

    batch, called, waited = sorted(
        collector.of(TRACES[0]), key=lambda span: ("process", "DEL", "wait").index(span.name.split()[0])
    )
    [linked] = collector.of(TRACES[1])
    assert len(collector.spans) == 4
    assert (batch.name, batch.parent_id, linked.name, linked.parent_id) == (batch.name, PARENT, batch.name, PARENT)
    assert (called.parent_id, linked.links, batch.links) == (batch.span_id, [batch.span_id], [])
    assert batch.attributes == dict(linked.attributes) | {"messaging.batch.message_count": 4}
    assert (waited.start // 1_000_000, waited.parent_id) == (1_795_867_200_249, PARENT)  # floats have no nanoseconds


@pytest.mark.parametrize(
    ("sampler", "argument", "sampled"),
    [("", "", True), ("always_on", "", True), ("parentbased_traceidratio", "0", False)],
)
async def test_the_sampler_decides_on_a_new_trace_and_the_flag_on_others(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, sampler: str, argument: str, sampled: bool
) -> None:
    if sampler:
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument)
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=tills,deployment.environment.name=test")
    recorder = Recorder("orders")
    new, known, unsampled = (
        tracing.begin(parent) for parent in (None, f"00-{TRACES[0]}-{PARENT}-01", f"00-{TRACES[1]}-{PARENT}-00")
    )
    told = []
    for trace in (new, known, unsampled):
        here, recording = recorder.request(trace, "BREW", "/pots/1")
        with recording:
            told.append(here)
            recorder.answered(503, 500, "BREW", "/pots/{id}")
    await asyncio.to_thread(recorder.close)

    assert [trace.flags for trace in told] == ["01" if sampled else "00", "01", "00"]
    exported = {(span.trace_id, span.span_id) for span in collector.spans}
    assert exported == {(trace.trace_id, trace.span_id) for trace in told if trace.flags == "01"}
    [span] = collector.of(TRACES[0])
    assert (span.service, span.name, span.parent_id, span.is_error) == ("tills", "BREW /pots/{id}", PARENT, True)
    assert span.attributes == {
        "http.request.method": "BREW",
        "http.response.status_code": 503,
        "http.route": "/pots/{id}",
        "error.type": "503",
        "url.path": "/pots/1",
        "url.scheme": "http",
    }


async def test_what_a_hanging_collector_does_not_take_is_counted_and_left_behind(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
    collector.answers.clear()
    recorder, before = Recorder("orders"), lost()
    for _ in range(10_000):
        with recorder.request(tracing.begin(), "GET", "/")[1]:
            pass
    dropped = lost() - before
    started = time.monotonic()
    await asyncio.to_thread(recorder.close)
    lasted = time.monotonic() - started
    collector.answers.set()
    await eventually(lambda: not any("Otel" in thread.name for thread in threading.enumerate()), within=50)

    assert 10_000 - 4_096 - 512 <= dropped <= 10_000 - 4_096
    assert len(collector.spans) == 10_000 - dropped
    assert 3 <= lasted < 5


async def test_what_a_collector_refuses_is_counted(collector: Collector) -> None:
    collector.status = 400
    recorder, before = Recorder("orders"), lost()
    with recorder.request(tracing.begin(), "GET", "/")[1]:
        pass
    await asyncio.to_thread(recorder.close)
    assert (lost() - before, len(collector.spans)) == (1, 1)


async def test_nothing_is_imported_without_a_collector() -> None:
    """The metrics of the SDK are, since redis has some of its own."""
    code = "import gateway.app, orders.app, sys; print({'shared.otlp', 'google', 'requests'} & {*sys.modules})"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    stdout, _ = await process.communicate()
    assert stdout == b"set()\n"
