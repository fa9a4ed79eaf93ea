"""Puts the order service together."""

from collections.abc import AsyncIterator

from aiohttp import web

from orders.events import ProductEvents, StockEvents
from orders.handlers import ORDERS
from orders.products import Products
from orders.routes import ROUTES
from orders.service import Orders
from orders.settings import Settings
from shared.cache import open_cache
from shared.db import open_database
from shared.messaging.bus import open_bus
from shared.messaging.topology import ORDERS_PRODUCTS, ORDERS_STOCK
from shared.tasks import BackgroundTasks
from shared.web import middleware
from shared.web.client import Limits, Upstream, client_session
from shared.web.health import HEALTH, Health
from shared.web.server import application

# Less than what a client of `POST /orders` waits for, the write behind it included.
_PRODUCT_LIMITS = Limits(total=2.0, connect=0.5, read=2.0)


def create_app(settings: Settings) -> web.Application:
    tasks = BackgroundTasks()
    app = application(middleware.trace, middleware.errors)
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
            products = Products(cache, Upstream("products", settings.products_url, session))
            orders = app[ORDERS] = Orders(database, cache, bus.relay, products)
            bus.consume(ORDERS_STOCK, StockEvents(orders).handle)
            bus.consume(ORDERS_PRODUCTS, ProductEvents(products).handle)
            health.add("database", database.is_up, required=True)
            health.add("broker", bus.is_up, required=False)
            health.add("consumers", bus.consumes, required=True)
            health.add("cache", cache.is_up, required=False)
            yield

    app.cleanup_ctx.append(resources)
    return app
