"""Puts the gateway together."""

from collections.abc import AsyncIterator

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from gateway import docs
from gateway.access.cors import cors
from gateway.access.guard import guard
from gateway.access.keyring import Keyring
from gateway.access.rate import RateLimiter
from gateway.answers import send_headers
from gateway.docs import DOCS, Docs
from gateway.forward import SECONDS, WAITING, Waiting, forward
from gateway.middleware import expectation, one_envelope, shedding, validation
from gateway.routes import ROUTES
from gateway.settings import Settings
from gateway.upstream.pool import SERVICES, open_service
from shared.tasks import BackgroundTasks
from shared.web import health, middleware
from shared.web.client import client_session, once
from shared.web.health import HEALTH, Health
from shared.web.server import application

log = structlog.get_logger()


def create_app(settings: Settings) -> web.Application:
    app = application(*_layers(settings))
    app[HEALTH] = Health(BackgroundTasks())
    app[WAITING] = Waiting()
    app[DOCS] = Docs(ROUTES)
    app[SECONDS] = settings.request_seconds
    app.add_routes(health.ROUTES)
    app.add_routes(docs.ROUTES)
    app.add_routes(
        web.get(route.path, forward, allow_head=not route.streamed, expect_handler=expectation)
        if route.method == "GET"
        else web.route(route.method, route.path, forward, expect_handler=expectation)
        for route in ROUTES
    )

    async def services(app: web.Application) -> AsyncIterator[None]:
        if not settings.api_keys:
            log.warning("API keys are not set: every client may do everything", host=settings.host)
        urls = {"products": settings.products_url, "orders": settings.orders_url}
        # Connections need no limit: the admission of each service bounds the requests.
        async with client_session(settings.limits, connections=0, middlewares=(once,)) as session:
            app[SERVICES] = {name: open_service(name, urls[name], session) for name in urls}
            # The gateway is ready without them: one service may be down while the other answers.
            for service in app[SERVICES].values():
                app[HEALTH].add(service.name, service.is_ready, required=False)
            yield

    app.cleanup_ctx.append(services)
    if settings.rate_limit or settings.cors_origins:
        app.on_response_prepare.append(send_headers)
    app.on_shutdown.append(_end_waiting)
    return app


def _layers(settings: Settings) -> tuple[Middleware, ...]:
    """The outermost comes first, and a layer that refuses cheaply comes before one that costs more."""
    keyring = Keyring(settings.api_keys) if settings.api_keys else None
    limiter = RateLimiter(*settings.rate_limit) if settings.rate_limit else None
    return (
        middleware.trace,
        middleware.errors,
        *([cors(settings.cors_origins)] if settings.cors_origins else []),
        guard(keyring, limiter, settings.trusted_proxies),
        shedding,
        one_envelope,
        validation,
    )


async def _end_waiting(app: web.Application) -> None:
    """Runs before the server waits for its last requests."""
    app[WAITING].close()
