"""A second process of the order service, beside the one behind the gateway."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.api import Api, connect
from tests.e2e.system import System
from tools.stack import ports
from tools.stack.services import Service


@asynccontextmanager
async def orders_replica(system: System, folder: Path, **settings: str) -> AsyncIterator[Api]:
    """On the same database, cache and broker; `settings` go over those that both have."""
    environment = {**system.environments["orders"], "PORT": str(ports.choose()), **settings}
    service = Service("orders", environment, folder)
    try:
        await service.start()
        async with connect(service.url) as api:
            yield api
    finally:
        await service.stop()
