"""Puts the gateway together."""

from collections.abc import AsyncIterator
from functools import partial

import structlog
from aiohttp import web

from gateway import docs
from gateway.access.clients import holder
from gateway.access.cors import Cors
from gateway.access.guard import finish, guard, trace
from gateway.access.keyring import Keyring
from gateway.access.rate import RateLimiter, Refusals
from gateway.docs import DOCS, Docs
from gateway.forward import BODIES, SECONDS, WAITING, Waiting, expectation, forward
from gateway.prefix import send_prefix
from gateway.routes import ROUTES
from gateway.settings import Settings
from gateway.upstream.pool import SERVICES, open_service
from shared.shares import Shares
from shared.tasks import repeat
from shared.web import health, middleware
from shared.web.client import service_clients
from shared.web.connections import HOLDER
from shared.web.health import HEALTH
from shared.web.server import TASKS, application

log = structlog.get_logger()

# Of bodies that have not come with their heads: 204 of the largest for one client alone.
_MOST_BYTES = 16 * 1024 * 1024
_LOOK = 1.0  # seconds


def create_app(settings: Settings) -> web.Application:
    keyring = Keyring(settings.api_keys) if settings.api_keys else None
    refusals = Refusals()
    cors = Cors(settings.cors_origins)
    app = application(  # the outermost layer comes first
        trace(settings.trusted_proxies),
        *((cors.preflight,) if settings.cors_origins else ()),
        middleware.errors,
        guard(keyring, RateLimiter(*settings.rate_limit), refusals),
    )
    app[WAITING] = Waiting()
    app[BODIES] = Shares(_MOST_BYTES)
    app[HOLDER] = lambda peer: holder(peer, settings.trusted_proxies)
    app[DOCS] = Docs()
    app[SECONDS] = settings.request_seconds
    app.add_routes(health.ROUTES)
    app.add_routes(docs.ROUTES)
    app.add_routes(
        web.route(
            route.method,
            route.path,
            partial(forward, route),
            expect_handler=expectation,
            **({"allow_head": False} if route.streamed else {}),
        )
        for route in ROUTES
    )

    async def services(app: web.Application) -> AsyncIterator[None]:
        if not settings.api_keys:
            log.warning("API keys are not set: every client may do everything", host=settings.host)
        urls = {"products": settings.products_url, "orders": settings.orders_url}
        tasks = app[TASKS]
        async with service_clients(settings.limits, settings.service_secret) as client, tasks:
            app[SERVICES] = {name: open_service(name, urls[name], client) for name in urls}
            # The gateway is ready without them: one service may be down while the other answers.
            for service in app[SERVICES].values():
                app[HEALTH].add(service.name, service.is_ready, required=False)
                look = f"look for addresses of {service.name}"
                tasks.start(look, repeat(look, _LOOK, service.look_for_those_away))
            yield

    app.cleanup_ctx.append(services)
    app.on_response_prepare.append(partial(finish, refusals, app[HOLDER]))
    if settings.trusted_proxies:
        app.on_response_prepare.append(partial(send_prefix, settings.trusted_proxies))
    if settings.cors_origins:
        app.on_response_prepare.append(cors.send_headers)
    app.on_shutdown.append(app[WAITING].close)
    return app
