"""The servers that the services need, started and stopped together."""

import asyncio
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tools.stack import passwords, ports, programs
from tools.stack.postgres import Postgres
from tools.stack.rabbitmq import RabbitMQ
from tools.stack.redis import Redis
from tools.stack.tasks import together

PORT_NAMES = (
    "postgresql",
    "products-redis",
    "orders-redis",
    "rabbitmq",
    "rabbitmq-ui",
    "epmd",
    "erlang-distribution",
)


def write_error(text: str) -> None:
    sys.stderr.write(f"{text}\n")


class Servers:
    """PostgreSQL, two Redis and RabbitMQ in one folder; a context starts and in the end removes them."""

    def __init__(
        self,
        folder: Path,
        port: Mapping[str, int] | None = None,
        *,
        durable: bool = True,
        say: Callable[[str], None] = write_error,
    ) -> None:
        """`port` has each of PORT_NAMES, free ones by default.

        `durable=False` is for tests: quicker, and nothing outlives the program, even if that is killed.
        """
        self._folder = folder = folder.absolute()
        folder.mkdir(parents=True, exist_ok=True)
        port = port or free_ports()
        password = passwords.load(folder / "postgresql.json", ["postgres"])["postgres"]
        self.postgres = Postgres(folder, port["postgresql"], password, say, durable=durable)
        self.products_redis = Redis("products-redis", folder, port["products-redis"], tied=not durable)
        self.orders_redis = Redis("orders-redis", folder, port["orders-redis"], tied=not durable)
        self.rabbitmq = RabbitMQ(
            folder,
            port["rabbitmq"],
            port["rabbitmq-ui"],
            port["epmd"],
            port["erlang-distribution"],
            tied=not durable,
        )
        self._say = say

    @property
    def all(self) -> tuple[Postgres, Redis, Redis, RabbitMQ]:
        return self.postgres, self.products_redis, self.orders_redis, self.rabbitmq

    async def start(self) -> None:
        """Installs what is missing, starts what does not run; StackError names the first that fails."""
        await asyncio.to_thread(programs.install_missing, self._say)
        await together(*(server.start() for server in self.all))

    async def stop(self) -> None:
        await together(*(server.stop() for server in self.all))

    async def remove(self) -> None:
        """Stops them the quick way and deletes the data."""
        await self.rabbitmq.kill()
        await self.stop()
        self.postgres.cluster.remove()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.remove()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.remove()


def free_ports() -> dict[str, int]:
    """One for each of PORT_NAMES, no two alike."""
    chosen: dict[str, int] = {}
    for name in PORT_NAMES:
        chosen[name] = ports.choose(taken=chosen.values())
    return chosen
