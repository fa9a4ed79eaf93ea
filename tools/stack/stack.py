"""The whole system on this machine: servers, migrations and services, started and stopped as one."""

import asyncio
import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from tools.stack import passwords, ports
from tools.stack.errors import StackError
from tools.stack.jobs import together
from tools.stack.parts import Part
from tools.stack.servers import Servers
from tools.stack.services import NAMES, STATEFUL, Service, environments, migrate


class Stack:
    def __init__(
        self,
        folder: Path,
        preferred_ports: Mapping[str, int] = ports.PREFERRED,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Keeps all its files under `folder`; the services get those of their settings that `environ` has."""
        self.folder = folder
        self.file = folder / "stack.json"
        self._preferred_ports = preferred_ports
        self._environ = environ

    async def up(self) -> list[Part]:
        """Starts what does not run, and again what runs with other settings; a failure ends both, and nothing else."""
        with locked(self.folder):
            port = ports.assign(self.folder, self._preferred_ports)
            system = System(self.folder, port, self._environ)
            await system.start()
            described = {
                part.name: {
                    "url": part.url,
                    "ui": part.ui,
                    "operator": part.operator_url,
                    "pid": part.server.daemon.pid,
                }
                for part in system.parts
            }
            passwords.write_private(self.file, json.dumps(described, indent=2))
        return system.parts

    async def down(self) -> None:
        """Stops everything; the data stay."""
        with locked(self.folder):
            if system := self._last_system():
                await system.stop()
            self.file.unlink(missing_ok=True)

    async def clean(self) -> None:
        """Stops everything and deletes the data."""
        with locked(self.folder):
            if system := self._last_system():
                await system.stop()
                system.servers.postgres.data_folder.remove()
            shutil.rmtree(self.folder)

    async def status(self) -> list[tuple[Part, str]]:
        """Each part of the last run with its state now; empty if there was no run."""
        system = self._last_system()
        parts = system.parts if system else []
        return list(zip(parts, await asyncio.gather(*(part.server.state() for part in parts)), strict=True))

    def _last_system(self) -> "System | None":
        port = ports.load(self.folder)
        return System(self.folder, port, self._environ) if port else None


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Two commands at once would start everything twice."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError("another command is starting or stopping it") from None
        yield


class System:
    """Servers and services with their ports and passwords, whether they run or not."""

    def __init__(self, folder: Path, port: Mapping[str, int], environ: Mapping[str, str] | None) -> None:
        roles = [*STATEFUL, *map(_owner, STATEFUL), *map(_operator, STATEFUL)]
        self._passwords = passwords.load(folder / "passwords.json", roles)
        self.servers = servers = Servers(folder, port)
        environment = environments(servers, self._passwords, port, environ)
        self._services = [Service(name, environment[name], folder) for name in NAMES]
        # In the order of a request's way through them.
        self.parts = [
            *(Part(service.daemon.name, service.url, service) for service in reversed(self._services)),
            *(
                Part(
                    f"{name}-db",
                    environment[name]["DATABASE_URL"],
                    servers.postgres,
                    operator_url=self._url(_operator(name), name),
                )
                for name in STATEFUL
            ),
            *(Part(redis.daemon.name, redis.url, redis) for redis in (servers.products_redis, servers.orders_redis)),
            Part("rabbitmq", servers.rabbitmq.url, servers.rabbitmq, ui=servers.rabbitmq.ui_url),
        ]

    async def start(self) -> None:
        """Returns when every check of every service is ok; a failure ends what this call has started."""
        try:
            await self.servers.start()
            await together(*(self._migrate(name) for name in STATEFUL))
            await together(*(service.start() for service in self._services))
        except BaseException:
            everything = (*self._services, *self.servers.all)
            await together(*(server.stop() for server in everything if server.daemon.started_here))
            raise

    async def stop(self) -> None:
        """Services first, the gateway before the others, so that each can finish what it has begun."""
        *others, gateway = self._services
        await gateway.stop()
        await together(*(service.stop() for service in others))
        await self.servers.stop()

    async def _migrate(self, name: str) -> None:
        owner = _owner(name)
        owner_url = await self.servers.postgres.create_database(name, owner, self._passwords[owner])
        await migrate(name, owner_url, self._url(name, name), self._url(_operator(name), name))

    def _url(self, role: str, database: str) -> str:
        return self.servers.postgres.database_url(role, self._passwords[role], database)


def _owner(database: str) -> str:
    return f"{database}_owner"


def _operator(database: str) -> str:
    return f"{database}_operator"
