"""Refuses at once what could not be answered in time anyway: before the body is read or looked at.

Under an overload most requests are refused, and what a refusal costs is taken from those that are not. So the common
ones are answered at the door: no request object, no task, no handlers.
"""

import asyncio
import time
from collections import defaultdict, deque
from datetime import UTC, datetime

from aiohttp import web
from aiohttp.http_parser import RawRequestMessage

from gateway.forward import SERVICES
from gateway.metrics import METRICS
from gateway.middleware import is_forwarded, route_of
from gateway.routes import ROUTES
from gateway.upstream.pool import ServicePool
from shared import tracing
from shared.errors import AppError, Code
from shared.web import responses
from shared.web.door import Door
from shared.web.head import problem
from shared.web.middleware import Handler, record
from shared.web.requests import MAX_BODY
from shared.web.responses import DEFAULTS, Origin

_BY_TARGET: dict[tuple[str, str], str] = {
    (route.method, route.path): route.upstream for route in ROUTES if "{" not in route.path
}
_HEAD = (
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
    + "".join(f"{name}: {value}\r\n" for name, value in DEFAULTS.items())
    + "X-Request-ID: %s\r\nContent-Length: %d\r\n\r\n"
)
# Of the event loop, from a request's arrival until it asks for a place: it is woken, given a task, run.
_ROUNDS = 4


@web.middleware
async def shedding(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Raises AppError UNAVAILABLE while the service's limit and queue are full."""
    if is_forwarded(request):
        service = request.app[SERVICES][route_of(request).upstream]
        if service.admission.refuses():
            METRICS.refused.labels("overload").inc()
            raise _overload(service)
    return await handler(request)


def door(app: web.Application) -> Door:
    """Refuses the same way those whose path has no parameter: most of what there can be thousands a second of."""
    on_their_way: defaultdict[str, _Arrivals] = defaultdict(_Arrivals)

    def answer(message: RawRequestMessage) -> bytes | None:
        upstream = _BY_TARGET.get((message.method, message.path))
        if upstream is None or not (service := app[SERVICES][upstream]).admission.is_busy:
            return None
        arrivals = on_their_way[upstream]
        if not service.admission.refuses(arrivals.count):
            arrivals.add()
            return None
        return None if "Origin" in message.headers or _is_malformed(message) else _refuse(service, message)

    return answer


class _Arrivals:
    """Requests that were let in but have not asked for a place yet: many come in one round of the event loop."""

    def __init__(self) -> None:
        self.count = 0
        self._loop = asyncio.get_running_loop()
        self._rounds = deque([0] * _ROUNDS, _ROUNDS)

    def add(self) -> None:
        if not self.count:
            self._loop.call_soon(self._pass)
        self.count += 1
        self._rounds[-1] += 1

    def _pass(self) -> None:
        self.count -= self._rounds[0]
        self._rounds.append(0)
        if self.count:
            self._loop.call_soon(self._pass)


def _refuse(service: ServicePool, message: RawRequestMessage) -> bytes:
    started = time.perf_counter()
    METRICS.refused.labels("overload").inc()
    here = tracing.begin(message.headers.get("traceparent"), message.headers.get("X-Request-ID"))
    error = _overload(service)
    body = responses.failure(error, Origin(here.trace_id, message.path, datetime.now(UTC)))
    seconds = time.perf_counter() - started
    token = tracing.current.set(here)
    record(message.method, message.path, error.status, seconds, route=message.path)
    tracing.current.reset(token)
    return (_HEAD % (here.request_id, len(body))).encode() + body


def _is_malformed(message: RawRequestMessage) -> bool:
    return problem(message.method, message.path, message.version, message.headers, MAX_BODY) is not None


def _overload(service: ServicePool) -> AppError:
    return AppError(Code.UNAVAILABLE, f"{service.name} has too much to do", retry_after=1)
