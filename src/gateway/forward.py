"""Forwards a checked request to the service that answers it."""

from collections.abc import Mapping

from aiohttp import web
from multidict import CIMultiDict

from gateway.middleware import route_of
from shared.web.client import Upstream

UPSTREAMS = web.AppKey("upstreams", Mapping[str, Upstream])

# What a service may see of a request, and a client of an answer. Everything else, hop-by-hop headers
# (RFC 9110 §7.6.1) included, ends here; trace headers are set anew by the client.
_REQUEST_HEADERS = ("Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID", "tracestate")
_RESPONSE_HEADERS = ("Content-Type", "Location", "Retry-After", "ETag", "Link", "Allow", "Idempotency-Replayed")


async def forward(request: web.Request) -> web.Response:
    """The handler of every route in the table."""
    route = route_of(request)
    reply = await request.app[UPSTREAMS][route.upstream].request(
        request.method,
        request.rel_url.raw_path_qs,  # also of a target in absolute form, RFC 9112 §3.2.2
        headers=_only(_REQUEST_HEADERS, request.headers),
        body=await request.read() if route.body is not None else None,
    )
    return web.Response(body=reply.body, status=reply.status, headers=_only(_RESPONSE_HEADERS, reply.headers))


def _only(names: tuple[str, ...], headers: Mapping[str, str]) -> CIMultiDict[str]:
    return CIMultiDict((name, headers[name]) for name in names if name in headers)
