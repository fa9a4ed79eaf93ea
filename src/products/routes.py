"""The route table of the product service."""

from aiohttp import web

from products import handlers
from shared.web import health

ROUTES = (
    web.post("/products", handlers.create_product),
    web.get("/products", handlers.list_products),
    web.get("/products/{id}", handlers.get_product),
    web.patch("/products/{id}", handlers.change_product),
    web.post("/products/{id}/stock", handlers.adjust_stock),
    web.get("/products/{id}/movements", handlers.list_movements),
    *health.ROUTES,
)
