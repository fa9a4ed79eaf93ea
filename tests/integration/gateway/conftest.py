"""The gateway in front of services that the test scripts."""

from collections.abc import AsyncIterator

import pytest

from tests.api import Api, connect
from tests.integration.gateway.opening import listening
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
async def port(products: FakeService, orders: FakeService) -> AsyncIterator[int]:
    """A gateway with default settings listens there."""
    async with listening(orders, products) as port:
        yield port


@pytest.fixture
async def gateway(port: int) -> AsyncIterator[Api]:
    async with connect(f"http://127.0.0.1:{port}") as api:
        yield api
