"""A product service that knows two products."""

import pytest
from aiohttp import web

from tests.integration.upstream import FakeService, envelope, respond_with

PRICES = {7: "19.90", 8: "0.01"}


@pytest.fixture(autouse=True)
def prices(product_service: FakeService) -> dict[int, str]:
    """What each product costs now; a test may change it."""
    prices = dict(PRICES)

    async def respond(request: web.Request) -> web.StreamResponse:
        product_id = int(request.path.removeprefix("/products/"))
        if product_id not in prices:
            refusal = envelope(404, None, error={"code": "not_found", "message": "There is none"})
            return await respond_with(404, refusal)(request)
        product = {"id": product_id, "name": "Lamp", "price": prices[product_id], "qty": 0, "version": 1}
        return await respond_with(200, envelope(200, product))(request)

    product_service.respond = respond
    return prices
