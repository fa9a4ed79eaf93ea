"""Headers that every answer carries: nothing in it may be run, framed, guessed at, stored or told on."""

from types import MappingProxyType

from aiohttp import web
from multidict import CIMultiDict, istr

DEFAULTS = MappingProxyType(
    {
        istr("X-Content-Type-Options"): "nosniff",
        istr("Cache-Control"): "no-store",
        istr("Content-Security-Policy"): "default-src 'none'; frame-ancestors 'none'",
        istr("Referrer-Policy"): "no-referrer",
    }
)
_SERVER = istr("Server")


def secure(headers: CIMultiDict[str]) -> None:
    """What a handler has set itself stays; the name of the server software goes."""
    for name, value in DEFAULTS.items():
        headers.setdefault(name, value)
    headers.pop(_SERVER, None)


async def on_prepare(_request: web.Request, response: web.StreamResponse) -> None:
    """For `on_response_prepare`: of streams too."""
    secure(response.headers)
