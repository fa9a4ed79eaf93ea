"""The route table of the order service."""

from aiohttp import web

from orders import handlers
from shared.web import health

ROUTES = (
    web.post("/orders", handlers.create_order),
    web.get("/orders", handlers.list_orders),
    web.get("/orders/{id}", handlers.get_order),
    web.post("/orders/{id}/cancel", handlers.cancel_order),
    web.get("/orders/{id}/history", handlers.list_history),
    web.get("/orders/{id}/events", handlers.stream_history, allow_head=False),
    web.get("/orders/product/{productId}", handlers.list_orders_of_product),
    *health.ROUTES,
)
