"""A database of its own for each test, copied from a migrated template."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import asyncpg

from ops.grants import OF_SERVICES
from ops.migrate import MIGRATIONS, migrate
from tools.stack import jobs
from tools.stack.postgres import Postgres

Service = Literal["products", "orders"]

PASSWORD = "test"
# Sessions that wait for a lock, to be selected from or ended.
WAITING = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
_LIMIT = 20.0


async def fetch(url: str, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
    """On a connection of its own, past the code under test."""
    connection = await asyncpg.connect(url, timeout=_LIMIT, command_timeout=_LIMIT)
    try:
        return [tuple(row) for row in await connection.fetch(statement, *arguments)]
    finally:
        await connection.close()


def as_operator(service_url: str) -> str:
    """The URL of the operator's role in the database of a service."""
    return service_url.replace(f":{PASSWORD}@", f"_operator:{PASSWORD}@", 1)


def owner(url: str) -> str:
    """The URL of a service's database for the owner of the schema, whose password is the same."""
    return url.replace("products:", "products_owner:", 1).replace("orders:", "orders_owner:", 1)


def as_admin(postgres: Postgres, url: str) -> str:
    """The URL of the database that the URL names, for the superuser."""
    return urlsplit(postgres.admin_url)._replace(path=urlsplit(url).path).geturl()


@asynccontextmanager
async def locked(url: str, statement: str) -> AsyncIterator[None]:
    """By somebody who has left a transaction open, under a role that has no timeouts."""
    forgotten = await asyncpg.connect(owner(url), timeout=_LIMIT, command_timeout=_LIMIT)
    try:
        await forgotten.execute(f"BEGIN; {statement}")
        yield
    finally:
        await forgotten.close()


class Databases:
    """Roles are named as in the local stack: `products`, `products_owner` and `products_operator`, and so for orders.

    A server has one role of a name, and these two databases are on one.
    """

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._numbers = itertools.count(1)

    async def prepare(self) -> None:
        """Makes the templates."""
        for service in ("products", "orders"):
            template = f"{service}_template"
            owner_url = await self._postgres.create_database(template, f"{service}_owner", PASSWORD)
            service_url = self._url(service, template)
            urls, folder = (owner_url, service_url), MIGRATIONS / service
            await migrate(*urls, folder, OF_SERVICES[service], operator_url=as_operator(service_url))

    async def copy(self, service: Service, name: str) -> str:
        """A migrated database; its URL for the service's own role."""
        await fetch(
            self._postgres.admin_url, f"CREATE DATABASE {name} TEMPLATE {service}_template OWNER {service}_owner"
        )
        return self._url(service, name)

    @asynccontextmanager
    async def fresh(self, service: Service) -> AsyncIterator[str]:
        """A copy that goes with the context."""
        name = f"{service}_{next(self._numbers)}"
        yield await self.copy(service, name)
        await self.drop(name)

    @asynccontextmanager
    async def empty(self) -> AsyncIterator[str]:
        """A database without any table; its URL for the role `owner`, which may create roles."""
        name = f"empty_{next(self._numbers)}"
        yield await self._postgres.create_database(name, "owner", PASSWORD)
        await self.drop(name)

    async def dump(self, url: str, file: Path) -> None:
        """Writes a backup of the database into the file, as docs/restore.md does it."""
        await self._run("pg_dump", "--format=custom", f"--file={file}", as_admin(self._postgres, url))

    async def restore(self, url: str, file: Path) -> None:
        """Puts the backup in the database's place; whoever is connected loses the connection."""
        name = urlsplit(url).path[1:]
        await fetch(self._postgres.admin_url, f"CREATE DATABASE {name}_restored OWNER {name.partition('_')[0]}_owner")
        await self._run("pg_restore", f"--dbname={as_admin(self._postgres, url)}_restored", str(file))
        await self.drop(name)
        await fetch(self._postgres.admin_url, f"ALTER DATABASE {name}_restored RENAME TO {name}")

    async def drop(self, name: str) -> None:
        await fetch(self._postgres.admin_url, f"DROP DATABASE {name} WITH (FORCE)")

    async def _run(self, program: str, *arguments: str) -> None:
        await jobs.finish(program, (self._postgres.data_folder.program(program), *arguments), _LIMIT, environment={})

    def _url(self, service: str, database: str) -> str:
        return self._postgres.database_url(service, PASSWORD, database)
