"""A collector that takes OTLP over HTTP, as OpenTelemetry's own does, and shows what it got."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.api import serve
from tools.stack import ports


class Span(NamedTuple):
    """`links` are the ids of other spans."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: Mapping[str, Any]
    links: list[str]
    is_error: bool
    start: int
    end: int


class Collector:
    """Hangs while `answers` is not set."""

    def __init__(self) -> None:
        self.status = 200
        self.answers = asyncio.Event()
        self.answers.set()
        self.spans: list[Span] = []
        self._port = ports.choose()
        self.url = f"http://127.0.0.1:{self._port}"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/traces", self._take)
        async with serve(app, port=self._port):
            yield

    def of(self, trace_id: str) -> list[Span]:
        return [span for span in self.spans if span.trace_id == trace_id]

    def tree(self, trace_id: str) -> list[str]:
        """A line for each span of a trace, under its parent, in the order of their names."""
        found = sorted(self.of(trace_id))
        ids = {span.span_id for span in found}

        def lines(spans: list[Span], indent: str = "") -> list[str]:
            return [
                line
                for span in spans
                for line in (
                    f"{indent}{span.service}: {span.name}",
                    *lines([each for each in found if each.parent_id == span.span_id], f"{indent}  "),
                )
            ]

        return lines([span for span in found if span.parent_id not in ids])

    async def _take(self, request: web.Request) -> web.Response:
        for resource in ExportTraceServiceRequest.FromString(await request.read()).resource_spans:
            service = _attributes(resource.resource)["service.name"]
            for scope in resource.scope_spans:
                self.spans += [_span(service, span) for span in scope.spans]
        await self.answers.wait()
        return web.Response(status=self.status)


def _span(service: str, span: Any) -> Span:
    ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
    links = [link.span_id.hex() for link in span.links]
    times = (span.start_time_unix_nano, span.end_time_unix_nano)
    return Span(
        service, span.name, *ids, _attributes(span), links, span.status.code == span.status.STATUS_CODE_ERROR, *times
    )


def _attributes(message: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in message.attributes}
