"""Puts the product service together."""

from collections.abc import AsyncIterator
from functools import partial

from aiohttp import web

from products.events import settle_orders
from products.handlers import CATALOGUE, ROUTES
from products.repository import FORGET_KEYS, SCHEMA
from products.service import Catalogue, Stock
from products.settings import Settings
from shared.cache import open_cache
from shared.db import PURGE_SECONDS, open_database, purge
from shared.messaging.bus import Bus
from shared.messaging.topology import PRODUCTS_ORDERS
from shared.tasks import repeat
from shared.web import health, middleware
from shared.web.health import HEALTH
from shared.web.middleware import request_limits
from shared.web.server import TASKS, application


def create_app(settings: Settings) -> web.Application:
    app = application(
        middleware.trace, middleware.errors, request_limits(settings.max_in_flight, settings.service_secret)
    )
    tasks = app[TASKS]
    app.add_routes([*ROUTES, *health.ROUTES])

    async def resources(app: web.Application) -> AsyncIterator[None]:
        """Opens resources in this order and closes them in reverse."""
        async with (
            open_database(settings.database_url, "products", settings.statement_cache_size) as database,
            open_cache(settings.redis_url, tasks) as cache,
            tasks,
            Bus(settings.amqp_url, "products", database, tasks) as bus,
        ):
            app[CATALOGUE] = Catalogue(database, cache, bus.relay)
            bus.consume(PRODUCTS_ORDERS, partial(settle_orders, Stock(database, cache, bus.relay)))
            tasks.start("purge of keys", repeat("purge of keys", PURGE_SECONDS, partial(purge, database, FORGET_KEYS)))
            app[HEALTH].add("database", database.is_up, required=True)
            app[HEALTH].add("schema", partial(database.has_schema, SCHEMA), required=True)
            app[HEALTH].add("broker", bus.is_up, required=False)
            app[HEALTH].add("consumers", bus.consumes, required=False)
            app[HEALTH].add("cache", cache.is_up, required=False)
            yield

    app.cleanup_ctx.append(resources)
    return app
