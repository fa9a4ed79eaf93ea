"""A gateway with settings of the test's choice, and what it says of itself."""

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


@asynccontextmanager
async def listening(products: FakeService | str, orders: FakeService | str, **settings: str) -> AsyncIterator[int]:
    """Its port. A service may be several: their URLs, with commas between."""
    urls = {"PRODUCTS_URL": _url(products), "ORDERS_URL": _url(orders)}
    async with serving(create_app(Settings.load(urls | settings)), ServerLimits()) as connections:
        yield await connections.listen("127.0.0.1", 0)


@asynccontextmanager
async def opened(products: FakeService | str, orders: FakeService | str, **settings: str) -> AsyncIterator[Api]:
    """As `listening`, with a client of at most 256 requests at once."""
    async with listening(products, orders, **settings) as port, connect(f"http://127.0.0.1:{port}") as api:
        yield api


def narrow(monkeypatch: pytest.MonkeyPatch, *, limit: int, queue: int = 1, seconds: float = 5.0) -> None:
    """Each service of a gateway that is opened after this has so many requests at once, and such a queue."""
    monkeypatch.setattr(pool, "ConcurrencyLimit", partial(ConcurrencyLimit, start=limit, least=limit, most=limit))
    bounds = QueueBounds(queue, seconds)
    monkeypatch.setattr(pool, "QueuePolicy", partial(QueuePolicy, bounds, bounds))


def breaking(monkeypatch: pytest.MonkeyPatch, parameters: BreakerParameters) -> None:
    """So does the breaker of each address."""
    monkeypatch.setattr(pool, "Breaker", partial(Breaker, parameters))


async def sample(api: Api, series: str) -> float:
    """The value of a series, named as in the exposition; 0 if there is none. The registry outlives a gateway."""
    lines = (await api.get("/metrics")).raw.decode().splitlines()
    return next((float(line.removeprefix(series)) for line in lines if line.startswith(f"{series} ")), 0.0)


def _url(service: FakeService | str) -> str:
    return service if isinstance(service, str) else service.url
