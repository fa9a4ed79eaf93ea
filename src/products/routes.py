"""The route table of the product service."""

from aiohttp import web

from products import handlers
from shared.web import health

ROUTES = (
    web.post("/products", handlers.create_product),
    web.get("/products", handlers.list_products),
    web.get("/products/{id}", handlers.get_product),
    *health.ROUTES,
)
