"""Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html."""

from aiohttp import web

from shared import tracing

CONTENT_TYPE = "text/event-stream"


def stream() -> web.StreamResponse:
    """An answer to be written piece by piece: it is sent before the middleware can add the request id."""
    headers = {
        "Content-Type": CONTENT_TYPE,
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",  # nginx would hold events back: ngx_http_proxy_module, proxy_buffering
        "X-Request-ID": tracing.here().request_id,
    }
    return web.StreamResponse(headers=headers)


def break_off(request: web.Request) -> None:
    """Closes the connection before the last chunk: the client sees that the stream is not whole (RFC 9112 §8)."""
    if request.transport is not None:
        request.transport.close()
