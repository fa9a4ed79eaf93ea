"""What the services do for a request at most, seen on their own applications with a database that is held up."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from orders.app import create_app as create_orders
from orders.settings import Settings as OrdersSettings
from products.app import create_app as create_products
from products.settings import Settings as ProductsSettings
from tests.api import Api
from tests.databases import WAITING, fetch, locked
from tests.integration.conftest import running
from tests.integration.upstream import FakeService, envelope, hang, respond_with
from tests.waiting import reaches

# Less than a query may take by itself (shared.db), which would be a 503.
LITTLE = {"X-Request-Timeout-Ms": "200"}
BODIES = {"products": {"name": "Lamp", "price": "1.50", "qty": 9}, "orders": {"productId": 7, "quantity": 1}}
OTHERS: dict[str, list[tuple[str, object]]] = {
    "products": [
        ("PATCH /products/1", {"name": "Chair"}),
        ("POST /products/1/stock", {"delta": 1, "reason": "found"}),
    ],
    "orders": [("GET /orders/1", None), ("POST /orders/1/cancel", None)],
}
OF_ORDER = respond_with(200, envelope(200, {"id": 7, "name": "Lamp", "price": "19.90", "qty": 9, "version": 1}))


async def ask(api: Api, *requests: tuple[str, object]) -> list[tuple[int, str | None]]:
    """Status and code of each request, all asked at once with little time."""
    answers = await asyncio.gather(
        *(api.request(*line.split(), json=content, headers=LITTLE) for line, content in requests)
    )
    return [(answer.status, answer.code) for answer in answers]


@pytest.fixture(params=["products", "orders"])
async def service(
    request: pytest.FixtureRequest,
    products_settings: ProductsSettings,
    orders_settings: OrdersSettings,
    product_service: FakeService,
) -> AsyncIterator[tuple[str, Api, str]]:
    """A service that handles twelve requests at once, more than it has connections; and its database's URL."""
    product_service.respond = OF_ORDER
    if request.param == "products":
        url, app = products_settings.database_url, create_products(replace(products_settings, max_in_flight=12))
    else:
        url, app = orders_settings.database_url, create_orders(replace(orders_settings, max_in_flight=12))
    async with running(app) as api:
        yield request.param, api, url


async def test_a_service_ends_what_is_too_slow_and_refuses_what_is_too_much(service: tuple[str, Api, str]) -> None:
    name, api, url = service
    before = await api.post(f"/{name}", BODIES[name])
    with capture_logs() as lines:
        async with locked(url, f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE"):
            too_late = await ask(api, *3 * [(f"GET /{name}", None), (f"POST /{name}", BODIES[name]), *OTHERS[name]])
            held_up = await fetch(url, f"SELECT {WAITING}")
            held = [asyncio.create_task(api.get(f"/{name}")) for _ in range(12)]
            await reaches(lambda: fetch(url, f"SELECT {WAITING}"), [()] * 8)
            refused = await api.get(f"/{name}")
            shown = [(await api.get(path)).status for path in ("/health/live", "/metrics")]
    await asyncio.gather(*held)
    after = await api.get(f"/{name}/1")

    is_read = [line.startswith("GET") for line in ("GET", "POST", *(line for line, _ in OTHERS[name]))]
    assert too_late == 3 * [(504, "upstream_timeout" if read else "outcome_unknown") for read in is_read]
    assert len(held_up) <= (name == "orders")  # the batch of orders is not bound to one request's time
    assert (refused.status, refused.code, refused.headers["Retry-After"]) == (503, "unavailable", "1")
    assert refused.body["error"]["message"] == "The service is overloaded"
    assert shown == [200] * 2
    assert (after.status, after.data) == (200, before.data)
    # A refusal for overload needs no line but its access line.
    assert {line["code"] for line in lines if line["event"] == "request failed"} == {
        "upstream_timeout",
        "outcome_unknown",
    }


async def test_the_order_service_stops_waiting_for_a_product(orders_api: Api, product_service: FakeService) -> None:
    """Its request to the product service goes on: others, who have more time, may wait for the same product."""
    product_service.respond = hang
    found = await ask(orders_api, ("POST /orders", BODIES["orders"]))

    [seen] = product_service.seen
    assert found == [(504, "outcome_unknown")]
    assert 1000 < int(seen.headers["X-Request-Timeout-Ms"]) <= 5000
