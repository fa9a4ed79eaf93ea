"""Lets pages of other origins in if the settings name them: https://fetch.spec.whatwg.org/#http-cors-protocol."""

from collections.abc import Collection

from aiohttp import web
from aiohttp.typedefs import Middleware

from gateway.answers import add_headers
from shared.web.middleware import Handler

_ANY = "*"
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PATCH",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, If-Match, Last-Event-ID, "
    "traceparent, tracestate, X-Request-ID",
    "Access-Control-Max-Age": "600",
}
_EXPOSED = "ETag, Idempotency-Replayed, Link, Location, RateLimit, RateLimit-Policy, Retry-After, X-Request-ID"


def cors(origins: Collection[str]) -> Middleware:
    """`origins` are written as browsers send them (`https://shop.example`); `*` stands for all, none for no page."""

    @web.middleware
    async def let_in(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        if not origin or not (_ANY in origins or origin in origins):
            return await handler(request)
        add_headers(
            request,
            {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": _EXPOSED, "Vary": "Origin"},
        )
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            return web.Response(status=204, headers=_PREFLIGHT)
        return await handler(request)

    return let_in
