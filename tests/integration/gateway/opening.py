"""A gateway with settings of the test's choice, and its metrics."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from gateway.app import create_app
from gateway.settings import Settings
from gateway.upstream import pool
from gateway.upstream.admission import ConcurrencyLimit, QueueBounds, QueuePolicy
from gateway.upstream.breaker import Breaker, BreakerParameters
from shared.web.connection import ServerLimits
from shared.web.server import serving
from tests.api import Api, connect
from tests.integration.upstream import FakeService

# Settings of a gateway that waits for longer than a test holds a request, on a busy machine too.
PATIENT = {"REQUEST_SECONDS": "30", "UPSTREAM_TOTAL_SECONDS": "30"}


@asynccontextmanager
async def listening(
    orders: FakeService | str, products: FakeService | str | None = None, **settings: str
) -> AsyncIterator[int]:
    """Yields its port. A service is a fake or the setting itself; without `products`, one fake is both services."""
    urls = {"PRODUCTS_URL": _url(products or orders), "ORDERS_URL": _url(orders)}
    async with serving(create_app(Settings.load(urls | settings)), ServerLimits()) as connections:
        yield await connections.listen("127.0.0.1", 0)


@asynccontextmanager
async def opened(
    orders: FakeService | str, products: FakeService | str | None = None, **settings: str
) -> AsyncIterator[Api]:
    """Like `listening`, but yields a client that sends at most 256 requests at once."""
    async with listening(orders, products, **settings) as port, connect(f"http://127.0.0.1:{port}") as api:
        yield api


def narrow(monkeypatch: pytest.MonkeyPatch, *, limit: int, queue: int = 1, seconds: float = 5.0) -> None:
    """Gives each service of a gateway that is opened later this limit of requests in flight, and such a queue."""
    monkeypatch.setattr(pool, "ConcurrencyLimit", partial(ConcurrencyLimit, start=limit, least=limit, most=limit))
    bounds = QueueBounds(queue, seconds)
    monkeypatch.setattr(pool, "QueuePolicy", partial(QueuePolicy, bounds, bounds))


def breaking(monkeypatch: pytest.MonkeyPatch, parameters: BreakerParameters) -> None:
    """Gives each address of a gateway that is opened later a breaker with these parameters."""
    monkeypatch.setattr(pool, "Breaker", partial(Breaker, parameters))


async def sample(api: Api, series: str) -> float:
    """The value of a series by its name in the exposition, 0 if it is not there. The registry outlives a gateway."""
    lines = (await api.get("/metrics")).raw.decode().splitlines()
    return next((float(line.removeprefix(series)) for line in lines if line.startswith(f"{series} ")), 0.0)


def _url(service: FakeService | str) -> str:
    return service if isinstance(service, str) else service.url
