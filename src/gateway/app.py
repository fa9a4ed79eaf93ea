"""Puts the gateway together."""

from collections.abc import AsyncIterator

from aiohttp import web

from gateway.forward import UPSTREAMS, forward
from gateway.middleware import one_envelope, validation
from gateway.routes import ROUTES
from gateway.settings import Settings
from shared.tasks import BackgroundTasks
from shared.web import health, middleware
from shared.web.client import Upstream, client_session
from shared.web.health import HEALTH, Health
from shared.web.server import application


def create_app(settings: Settings) -> web.Application:
    app = application(middleware.trace, middleware.errors, one_envelope, validation)
    app[HEALTH] = Health(BackgroundTasks())
    app.add_routes(health.ROUTES)
    app.add_routes(
        web.get(route.path, forward) if route.method == "GET" else web.route(route.method, route.path, forward)
        for route in ROUTES
    )

    async def upstreams(app: web.Application) -> AsyncIterator[None]:
        async with client_session(settings.limits) as session:
            app[UPSTREAMS] = {
                "products": Upstream("products", settings.products_url, session),
                "orders": Upstream("orders", settings.orders_url, session),
            }
            # Either may be down while the other still answers.
            for upstream in app[UPSTREAMS].values():
                app[HEALTH].add(upstream.name, upstream.is_ready, required=False)
            yield

    app.cleanup_ctx.append(upstreams)
    return app
