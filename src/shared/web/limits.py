"""What a service does for a request at most: as long as the caller waits, and beside no more than so many others."""

from aiohttp import web
from aiohttp.typedefs import Middleware

from shared import deadline
from shared.errors import AppError, Code
from shared.web.health import ROUTES
from shared.web.middleware import Handler

_NEVER_REFUSED = frozenset(route.path for route in ROUTES)


def limits(most_in_flight: int) -> Middleware:
    """Past `most_in_flight` raises UNAVAILABLE, for health and metrics never; a request ends with its deadline."""
    in_flight = 0

    @web.middleware
    async def limit(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal in_flight
        if request.path in _NEVER_REFUSED:
            return await handler(request)
        if in_flight >= most_in_flight:
            raise AppError(Code.UNAVAILABLE, "The service has too much to do", retry_after=1)
        in_flight += 1
        try:
            seconds = deadline.parse(request.headers.get(deadline.HEADER))
            if seconds is None:
                return await handler(request)
            async with deadline.within(seconds):
                return await handler(request)
        finally:
            in_flight -= 1

    return limit
