"""The three services as processes, on databases of their own."""

import json
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.databases import PASSWORD, WAITING, Databases, fetch, locked
from tools.stack import ports
from tools.stack.jobs import together
from tools.stack.servers import Servers
from tools.stack.services import NAMES, ROOT, Service, environments


class System:
    """Uses the default virtual host and the databases `products` and `orders`, unless `changes` name others.

    `changes` are environment variables of each service; `root` is the checkout that the services run from.
    """

    def __init__(
        self,
        servers: Servers,
        folder: Path,
        changes: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
        root: Path = ROOT,
    ) -> None:
        port = ports.choose_each(NAMES)
        self.environments = environments(servers, dict.fromkeys(("products", "orders"), PASSWORD), port)
        for name, own in changes.items():
            self.environments[name] |= own
        self.services = {name: Service(name, self.environments[name], folder, root=root) for name in NAMES}
        self.url = self.services["gateway"].url

    async def prepare(self, databases: Databases) -> None:
        await databases.copy("products", "products")
        await databases.copy("orders", "orders")

    async def start(self) -> None:
        """Starts what does not run; returns when every check of every service is ok."""
        await together(*(service.start() for service in self.services.values()))

    async def stop(self) -> None:
        await together(*(service.stop() for service in self.services.values()))

    async def kill(self, name: str) -> None:
        """Without a chance to end in order; `start` starts it again."""
        daemon = self.services[name].daemon
        assert daemon.send(signal.SIGKILL)
        assert await daemon.ended(5)

    async def products(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        """A query in products-db."""
        return await fetch(self.environments["products"]["DATABASE_URL"], statement, *arguments)

    async def orders(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        """A query in orders-db."""
        return await fetch(self.environments["orders"]["DATABASE_URL"], statement, *arguments)

    @asynccontextmanager
    async def locked(self, row: str, row_id: int) -> AsyncIterator[None]:
        """Keeps a service from writing the row `product` or `order`."""
        url = self.environments[f"{row}s"]["DATABASE_URL"]
        async with locked(url, f"SELECT FROM {row}s WHERE id = {row_id} FOR UPDATE"):
            yield

    async def waits_for_a_lock(self, name: str) -> bool:
        """Whether the service has begun a write and cannot go on."""
        return await fetch(self.environments[name]["DATABASE_URL"], f"SELECT {WAITING}") != []

    async def give_up_waiting(self, name: str) -> None:
        """What the database does when the machine of the service goes down."""
        await fetch(self.environments[name]["DATABASE_URL"], f"SELECT pg_terminate_backend(pid) {WAITING}")

    async def all_are_final(self, product_id: int) -> bool:
        """Whether no order of the product is pending."""
        found = "SELECT FROM orders WHERE product_id = $1 AND status = 'pending' LIMIT 1"
        return await self.orders(found, product_id) == []

    def lines_of_trace(self, name: str, trace_id: str) -> Iterator[dict[str, Any]]:
        """Of a service's log."""
        for text in self.services[name].daemon.log.read_text().splitlines():
            line = json.loads(text)
            if trace_id in (line.get("trace_id"), *line.get("trace_ids", ())):
                yield line
