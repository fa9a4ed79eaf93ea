"""The parts of a stack as a user knows them, for the table and for stack.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from tools.stack.processes import Daemon
from tools.stack.servers import Servers
from tools.stack.services import Service


class Server(Protocol):
    """What every server and service has in common."""

    @property
    def daemon(self) -> Daemon: ...

    @property
    def started_here(self) -> bool: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def answers(self) -> bool: ...


@dataclass(frozen=True)
class Part:
    """Two parts may be one server, as the two databases are."""

    name: str
    url: str
    server: Server
    ui: str | None = None

    @property
    def address(self) -> str:
        """Host and port, without the password that the URL may hold."""
        address = urlsplit(self.url)
        return f"{address.hostname}:{address.port}"

    def describe(self) -> dict[str, object]:
        """Holds the URL's password."""
        daemon = self.server.daemon
        described: dict[str, object] = {"url": self.url, "log": str(daemon.log), "pid": daemon.pid}
        return described | ({"ui": self.ui} if self.ui else {})

    async def state(self) -> str:
        """`up`, `down`, or what is wrong."""
        if self.server.daemon.pid is None:
            return "down"
        if await self.server.answers():
            return "up"
        checks = await self.server.checks() if isinstance(self.server, Service) else None
        failed = [name for name, outcome in (checks or {}).items() if outcome != "ok"]
        return f"not ready: {', '.join(failed)}" if failed else "does not answer"


def parts(servers: Servers, services: Sequence[Service], database_urls: Mapping[str, str]) -> list[Part]:
    """In the order of a request's way through them."""
    rabbitmq = servers.rabbitmq
    return [
        *(Part(service.daemon.name, service.url, service) for service in reversed(services)),
        *(Part(f"{name}-db", url, servers.postgres) for name, url in database_urls.items()),
        Part("products-redis", servers.products_redis.url, servers.products_redis),
        Part("orders-redis", servers.orders_redis.url, servers.orders_redis),
        Part("rabbitmq", rabbitmq.url, rabbitmq, ui=rabbitmq.ui_url),
    ]
