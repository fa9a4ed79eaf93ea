"""Headers that a layer adds to whatever answer the request gets: a refusal, a service's answer, or a stream."""

from collections.abc import Mapping

from aiohttp import web

_HEADERS = web.RequestKey("headers", dict[str, str])


def add_headers(request: web.Request, headers: Mapping[str, str]) -> None:
    request[_HEADERS] = {**request.get(_HEADERS, {}), **headers}


async def send_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Runs on `on_response_prepare`, because a stream sends its headers before its handler returns."""
    if _HEADERS in request:
        response.headers.update(request[_HEADERS])
