"""Puts the order service together."""

from collections.abc import AsyncIterator
from functools import partial

from aiohttp import ClientTimeout, web

from orders.events import apply_verdicts, forget_products
from orders.handlers import ORDERS, ROUTES
from orders.products import Products
from orders.repository import FORGET_KEYS, SCHEMA
from orders.service import Orders
from orders.settings import Settings
from orders.sweeper import Sweeper
from orders.watch import Watch
from shared.cache import open_cache
from shared.db import PURGE_SECONDS, open_database, purge
from shared.messaging.bus import Bus
from shared.messaging.topology import ORDERS_PRODUCTS, ORDERS_STOCK
from shared.tasks import repeat
from shared.web import health, middleware
from shared.web.client import service_clients
from shared.web.health import HEALTH
from shared.web.middleware import request_limits
from shared.web.server import TASKS, application

# Shorter than the wait of a client of `POST /orders`, so that time is left for the write.
_PRODUCT_TIMEOUTS = ClientTimeout(total=2.0, connect=0.5)

_POLL_SECONDS = 1.0

WATCH = web.AppKey("watch", Watch)


def create_app(settings: Settings) -> web.Application:
    app = application(
        middleware.trace, middleware.errors, request_limits(settings.max_in_flight, settings.service_secret)
    )
    tasks = app[TASKS]
    app.add_routes([*ROUTES, *health.ROUTES])

    async def resources(app: web.Application) -> AsyncIterator[None]:
        """Opens resources in this order and closes them in reverse."""
        async with (
            open_database(settings.database_url, "orders", settings.statement_cache_size) as database,
            open_cache(settings.redis_url, tasks) as cache,
            service_clients(_PRODUCT_TIMEOUTS, settings.service_secret) as client,
            tasks,
            Bus(settings.amqp_url, "orders", database, tasks) as bus,
        ):
            products = Products(cache, client("products", settings.products_url))
            watch = app[WATCH] = Watch(database)
            orders = app[ORDERS] = Orders(
                database, cache, bus.relay, products, watch, lines_and_holds=settings.lines_and_holds
            )
            sweeper = Sweeper(database, bus.relay, settings.stuck_order_seconds, bus.is_up)
            bus.consume(ORDERS_STOCK, partial(apply_verdicts, orders))
            bus.consume(ORDERS_PRODUCTS, partial(forget_products, products))
            tasks.start("sweeper", repeat("sweeper", sweeper.interval, sweeper.sweep))
            tasks.start("order watch", repeat("order watch", _POLL_SECONDS, watch.poll))
            tasks.start("expiry", repeat("expiry", _POLL_SECONDS, orders.expire))
            tasks.start("purge of keys", repeat("purge of keys", PURGE_SECONDS, partial(purge, database, FORGET_KEYS)))
            app[HEALTH].add("database", database.is_up, required=True)
            app[HEALTH].add("schema", partial(database.has_schema, SCHEMA), required=True)
            app[HEALTH].add("broker", bus.is_up, required=False)
            app[HEALTH].add("consumers", bus.consumes, required=False)
            app[HEALTH].add("cache", cache.is_up, required=False)
            yield

    app.cleanup_ctx.append(resources)
    app.on_shutdown.append(_release_waiting_requests)
    return app


async def _release_waiting_requests(app: web.Application) -> None:
    """Runs before the server waits for its last requests, some of which may wait for an order."""
    app[WATCH].close()
