"""Lets pages of other origins in if the settings name them: https://fetch.spec.whatwg.org/#http-cors-protocol."""

from collections.abc import Collection

from aiohttp import web

from gateway.headers import ANSWERED, READ
from shared.web.middleware import Handler

_ANY = "*"
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PATCH",
    "Access-Control-Allow-Headers": ", ".join(READ),
    "Access-Control-Max-Age": "600",
}
_EXPOSED = ", ".join(ANSWERED)


class Cors:
    """`origins` are written as browsers send them (`https://shop.example`); `*` stands for all, none for no page."""

    def __init__(self, origins: Collection[str]) -> None:
        self._origins = origins

    @web.middleware
    async def preflight(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answers before the head is checked, so that a page can make the request and read its refusal."""
        if request.method == "OPTIONS" and _is_preflight(request) and self._lets_in(request):
            return web.Response(status=204, headers=_PREFLIGHT)
        return await handler(request)

    async def send_headers(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Runs before any answer is sent, also one to a request that reached no handler."""
        if self._lets_in(request):
            response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
            response.headers["Access-Control-Expose-Headers"] = _EXPOSED
            response.headers["Vary"] = "Origin"

    def _lets_in(self, request: web.BaseRequest) -> bool:
        origin = request.headers.get("Origin")
        return bool(origin) and (_ANY in self._origins or origin in self._origins)


def _is_preflight(request: web.Request) -> bool:
    """One with a body is left to the checks of the head, which may find that its end is not certain."""
    headers = request.headers
    is_bare = not request.can_read_body and "Transfer-Encoding" not in headers
    return is_bare and "Access-Control-Request-Method" in headers
