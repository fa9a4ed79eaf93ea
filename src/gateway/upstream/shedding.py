"""Refuses at once what could not be answered in time anyway: before the body is read or looked at."""

from aiohttp import web

from gateway.forward import SERVICES
from gateway.metrics import METRICS
from gateway.middleware import is_forwarded, route_of
from gateway.upstream.pool import ServicePool
from shared.errors import AppError, Code
from shared.web.middleware import Handler


@web.middleware
async def shedding(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Raises AppError UNAVAILABLE while the service's limit and queue are full."""
    if is_forwarded(request):
        service = request.app[SERVICES][route_of(request).upstream]
        if service.admission.refuses():
            METRICS.refused.labels("overload").inc()
            raise _overload(service)
    return await handler(request)


def _overload(service: ServicePool) -> AppError:
    return AppError(Code.UNAVAILABLE, f"{service.name} has too much to do", retry_after=1)
