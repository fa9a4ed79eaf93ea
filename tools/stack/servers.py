"""The servers that the services need, started and stopped together."""

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tools.stack import passwords, ports, programs
from tools.stack.jobs import together
from tools.stack.postgres import Postgres
from tools.stack.rabbitmq import RabbitMQ
from tools.stack.redis import Redis


class Servers:
    """PostgreSQL, two Redis and RabbitMQ in one folder; a context starts and in the end removes them."""

    def __init__(self, folder: Path, port: Mapping[str, int] | None = None, *, durable: bool = True) -> None:
        """`port` has each of ports.NAMES that is a server's, free ones by default.

        `durable=False` is for tests: quicker, and nothing outlives the program, even if that is killed.
        """
        self._folder = folder = folder.absolute()
        folder.mkdir(parents=True, exist_ok=True)
        port = port or ports.choose_each(ports.NAMES)
        password = passwords.load(folder / "postgresql.json", ["postgres"])["postgres"]
        self.postgres = Postgres(folder, port["postgresql"], password, durable=durable)
        self.products_redis = Redis("products-redis", folder, port["products-redis"], tied=not durable)
        self.orders_redis = Redis("orders-redis", folder, port["orders-redis"], tied=not durable)
        self.rabbitmq = RabbitMQ(folder, *(port[name] for name in ports.OF_RABBITMQ), tied=not durable)
        self.all = (self.postgres, self.products_redis, self.orders_redis, self.rabbitmq)

    async def start(self) -> None:
        """Installs what is missing, starts what does not run; StackError names the first that fails."""
        await asyncio.to_thread(programs.install_missing)
        await together(*(server.start() for server in self.all))

    async def stop(self) -> None:
        await together(*(server.stop() for server in self.all))

    async def remove(self) -> None:
        """Stops them the quick way and deletes the data."""
        await self.rabbitmq.kill()
        await self.stop()
        self.postgres.data_folder.remove()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.remove()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.remove()
