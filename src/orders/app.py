"""Puts the order service together."""

from collections.abc import AsyncIterator
from functools import partial

from aiohttp import web

from orders.events import ProductEvents, StockEvents
from orders.handlers import ORDERS
from orders.products import Products
from orders.queries import FORGET_KEYS
from orders.routes import ROUTES
from orders.service import Orders
from orders.settings import Settings
from orders.sweeper import Sweeper
from orders.watch import Watch
from shared.cache import open_cache
from shared.db import PURGE_SECONDS, open_database, purge
from shared.messaging.bus import open_bus
from shared.messaging.topology import ORDERS_PRODUCTS, ORDERS_STOCK
from shared.tasks import BackgroundTasks, repeat
from shared.web import middleware
from shared.web.client import ClientTimeouts, ServiceClient, client_session
from shared.web.health import HEALTH, Health
from shared.web.middleware import request_limits
from shared.web.server import application

# Less than what a client of `POST /orders` waits for, the write behind it included.
_PRODUCT_LIMITS = ClientTimeouts(total=2.0, connect=0.5, read=2.0)

_POLL = 1.0

WATCH = web.AppKey("watch", Watch)


def create_app(settings: Settings) -> web.Application:
    tasks = BackgroundTasks()
    app = application(middleware.trace, middleware.errors, request_limits(settings.most_in_flight))
    app[HEALTH] = Health(tasks)
    app.add_routes(ROUTES)

    async def resources(app: web.Application) -> AsyncIterator[None]:
        """Opened in this order, closed in reverse."""
        health = app[HEALTH]
        async with (
            open_database(settings.database_url, "orders") as database,
            open_cache(settings.redis_url, tasks) as cache,
            client_session(_PRODUCT_LIMITS) as session,
            tasks,
            open_bus(settings.amqp_url, "orders", database, tasks) as bus,
        ):
            products = Products(cache, ServiceClient("products", settings.products_url, session))
            watch = app[WATCH] = Watch(database)
            orders = app[ORDERS] = Orders(database, cache, bus.relay, products, watch)
            sweeper = Sweeper(database, bus.relay, settings.stuck_order_seconds, bus.is_up)
            bus.consume(ORDERS_STOCK, StockEvents(orders).handle)
            bus.consume(ORDERS_PRODUCTS, ProductEvents(products).handle)
            tasks.start("sweeper", repeat("sweeper", sweeper.interval, sweeper.sweep))
            tasks.start("order watch", repeat("order watch", _POLL, watch.poll))
            tasks.start("purge of keys", repeat("purge of keys", PURGE_SECONDS, partial(purge, database, FORGET_KEYS)))
            health.add("database", database.is_up, required=True)
            health.add("broker", bus.is_up, required=False)
            health.add("consumers", bus.consumes, required=True)
            health.add("cache", cache.is_up, required=False)
            yield

    app.cleanup_ctx.append(resources)
    app.on_shutdown.append(_let_watchers_go)
    return app


async def _let_watchers_go(app: web.Application) -> None:
    """Before the server waits for its last requests, of which some may wait for an order."""
    app[WATCH].close()
