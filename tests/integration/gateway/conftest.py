"""The gateway in front of services that the test scripts."""

from collections.abc import AsyncIterator

import pytest

from gateway.app import create_app
from gateway.settings import Settings
from tests.api import Api, connect, serve
from tests.integration.upstream import FakeService, fake_service


@pytest.fixture
async def products() -> AsyncIterator[FakeService]:
    async with fake_service() as fake:
        yield fake


@pytest.fixture
async def orders() -> AsyncIterator[FakeService]:
    async with fake_service() as fake:
        yield fake


@pytest.fixture
async def gateway_url(products: FakeService, orders: FakeService) -> AsyncIterator[str]:
    """Waits half a second for a service, no longer."""
    settings = Settings.load({"PRODUCTS_URL": products.url, "ORDERS_URL": orders.url, "UPSTREAM_TOTAL_SECONDS": "0.5"})
    async with serve(create_app(settings)) as url:
        yield url


@pytest.fixture
async def gateway(gateway_url: str) -> AsyncIterator[Api]:
    async with connect(gateway_url) as api:
        yield api
