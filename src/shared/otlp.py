"""Records spans and exports them by OpenTelemetry's SDK, which reads its settings, OTEL_…, itself.

Names and attributes: https://opentelemetry.io/docs/specs/semconv/ (HTTP, database, messaging).
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from functools import partial
from threading import Thread

from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision

from shared import metrics, tracing
from shared.spans import NOTHING
from shared.tracing import Trace

_MOST_WAITING = 4_096  # spans, of some 2 kB each
_LAST_SPANS = 3.0  # seconds
_MESSAGES = {"publish": (api.SpanKind.PRODUCER, "send"), "process": (api.SpanKind.CONSUMER, "process")}
_entered = partial(api.use_span, end_on_exit=True, record_exception=False)


class Recorder:
    """Records what the sampling flag of a trace allows, or the sampler for a new one."""

    def __init__(self, service: str) -> None:
        resource = Resource.create({SERVICE_NAME: service, **OTELResourceDetector().detect().attributes})
        self._sampler = TracerProvider(resource=resource, shutdown_on_exit=False).sampler
        # Asked before a span is made: most requests have none, and one that is not recorded costs as much.
        self._provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False)
        self._provider.add_span_processor(_Processor(_Exporter(), max_queue_size=_MOST_WAITING))
        self._start = self._provider.get_tracer("product-order-system").start_span

    def close(self) -> None:
        """Sends what is left; a collector that hangs is left behind."""
        end = Thread(target=self._provider.shutdown, daemon=True)
        end.start()
        end.join(_LAST_SPANS)

    def request(self, here: Trace, method: str, path: str) -> tuple[Trace, AbstractContextManager[object]]:
        """A request that is served, and its trace as logs and others are told of it."""
        if here.flags == "00":
            return here, NOTHING  # whatever the sampler says: whoever sent it has decided
        parent = _context(here.parent)
        if self._sampler.should_sample(parent, int(here.trace_id, 16), "HTTP").decision is Decision.DROP:
            return here._replace(flags="00"), NOTHING
        attributes = {"http.request.method": method, "url.path": path, "url.scheme": "http"}
        span = self._start("HTTP", parent, api.SpanKind.SERVER, attributes)
        context = span.get_span_context()
        return here._replace(
            trace_id=api.format_trace_id(context.trace_id), span_id=api.format_span_id(context.span_id)
        ), _entered(span)

    def span(self, name: str, attributes: Mapping[str, str | int]) -> AbstractContextManager[object]:
        """A call of another server, within a span that is recorded."""
        is_shown = api.get_current_span().is_recording()
        return _entered(self._start(name, None, api.SpanKind.CLIENT, attributes)) if is_shown else NOTHING

    @contextmanager
    def messages(
        self, operation: str, destination: str, events: Iterable[tuple[str | None, datetime | str | None]]
    ) -> Iterator[None]:
        """What is done at once with events: each has a traceparent, and the time since when it waited in a queue.

        The spans inside are shown in the trace of the first; the others' spans are linked to that one's.
        """
        kind, type_ = _MESSAGES[operation]
        about = {"messaging.system": "rabbitmq", "messaging.destination.name": destination}
        about |= {"messaging.operation.name": operation, "messaging.operation.type": type_}
        now, all_events, started = time.time_ns(), list(events), []
        for traceparent, since in all_events:
            if traceparent and traceparent.endswith("-01") and tracing.parse(traceparent):
                parent = _context(traceparent)
                started.append(self._start(f"{operation} {destination}", parent, kind, about))
                with suppress(ValueError, OverflowError):  # other programs may publish any text
                    if since:
                        began = int(datetime.fromisoformat(str(since)).timestamp() * 1e9)
                        self._start(f"wait {destination}", parent, start_time=min(max(0, began), now)).end(now)
        first, *others = started or [api.INVALID_SPAN]
        first.set_attribute("messaging.batch.message_count", len(all_events))
        for other in others:
            other.add_link(first.get_span_context())
        try:
            with _entered(first):
                yield
        finally:
            for other in others:
                other.end()

    def answered(self, status: int, least_failure: int, method: str = "", route: str = "") -> None:
        """Completes the HTTP span around this."""
        span = api.get_current_span()
        if not span.is_recording():
            return
        span.set_attribute("http.response.status_code", status)
        if route:
            span.set_attribute("http.route", route)
            span.update_name(f"{method} {route}")
        if status >= least_failure:
            span.set_attribute("error.type", str(status))
            span.set_status(api.StatusCode.ERROR)

    def caller(self, here: Trace) -> Trace:
        """What a called service is told: the span around the call is its parent."""
        span = api.get_current_span()
        span_id = api.format_span_id(span.get_span_context().span_id)
        return here._replace(span_id=span_id) if span.is_recording() else here


def _context(traceparent: str | None) -> Context:
    """Of a traceparent that is valid."""
    context = Context()
    if traceparent is None:
        return context
    _, trace_id, span_id, flags = traceparent.split("-")[:4]
    ids, sampled = (int(trace_id, 16), int(span_id, 16)), api.TraceFlags(int(flags, 16))
    remote = api.SpanContext(*ids, is_remote=True, trace_flags=sampled)
    return api.set_span_in_context(api.NonRecordingSpan(remote), context)


class _Exporter(OTLPSpanExporter):
    taken = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        result = super().export(spans)
        metrics.SPANS_LOST.inc(0 if result is SpanExportResult.SUCCESS else len(spans))
        return result


class _Processor(BatchSpanProcessor):
    """Counts what finds no room."""

    added = 0

    def on_end(self, span: ReadableSpan) -> None:
        if self.added - self.span_exporter.taken < _MOST_WAITING:
            self.added += 1
            super().on_end(span)
        else:
            metrics.SPANS_LOST.inc()
