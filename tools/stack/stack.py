"""The whole system on this machine: servers, migrations and services, started and stopped as one."""

import asyncio
import contextlib
import fcntl
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tools.stack import assignment, migrations, passwords
from tools.stack.errors import StackError
from tools.stack.parts import Part, Server, parts
from tools.stack.servers import Servers
from tools.stack.services import NAMES, NOTHING, ROOT, Service, environments
from tools.stack.tasks import together

DATABASES = ("products", "orders")


class Stack:
    def __init__(
        self,
        folder: Path,
        say: Callable[[str], None],
        preferred_ports: Mapping[str, int] = assignment.PREFERRED,
        environ: Mapping[str, str] = NOTHING,
    ) -> None:
        """All it leaves on disk is under `folder`; `say` gets what a user should know.

        The services are told those of their settings that `environ` has.
        """
        self.folder = folder
        self._say = say
        self._preferred_ports = preferred_ports
        self._environ = environ
        self._file = folder / "stack.json"

    async def up(self) -> list[Part]:
        """Starts what does not run, and again what runs with other settings; a failure ends both, and nothing else."""
        with self._locked():
            try:
                system = await self._start()
            except StackError:
                if not assignment.lost(self.folder):
                    raise
                self._say("Another program took one of the ports meanwhile; trying again.")
                system = await self._start()
            described = {part.name: part.describe() for part in system.parts}
            passwords.write_private(self._file, json.dumps(described, indent=2))
        return system.parts

    async def down(self) -> None:
        """The data stay."""
        with self._locked():
            if system := self._last_system():
                await system.stop()
            self._file.unlink(missing_ok=True)

    async def clean(self) -> None:
        """Stops everything and deletes the data."""
        with self._locked():
            if system := self._last_system():
                await system.stop()
                system.servers.postgres.cluster.remove()
            shutil.rmtree(self.folder)

    async def status(self) -> list[tuple[Part, str]]:
        """Each part of the last run with its state now; empty if there was no run."""
        system = self._last_system()
        if system is None:
            return []
        states = await asyncio.gather(*(part.state() for part in system.parts))
        return list(zip(system.parts, states, strict=True))

    def gateway_url(self) -> str:
        """StackError if the stack is not up."""
        if not self._file.exists():
            raise StackError("the system is not up; `make up` starts it")
        return str(json.loads(self._file.read_text())["gateway"]["url"])

    async def _start(self) -> "System":
        port = assignment.assign(self.folder, self._preferred_ports, self._say)
        system = System(self.folder, port, self._say, self._environ)
        await system.start()
        return system

    def _last_system(self) -> "System | None":
        port = assignment.load(self.folder)
        return System(self.folder, port, self._say, self._environ) if port else None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Two commands at once would start everything twice."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackError("another command is starting or stopping this stack") from None
            yield


class System:
    """Servers and services with their ports and passwords, wherever they run or not."""

    def __init__(
        self, folder: Path, port: Mapping[str, int], say: Callable[[str], None], environ: Mapping[str, str]
    ) -> None:
        owners = [f"{name}_owner" for name in DATABASES]
        self._passwords = passwords.load(folder / "passwords.json", [*DATABASES, *owners])
        self.servers = Servers(folder, port, say=say)
        told = environments(self.servers, self._passwords, port, environ)
        self._services = [Service(name, told[name], folder) for name in NAMES]
        self.parts = parts(self.servers, self._services, {name: told[name]["DATABASE_URL"] for name in DATABASES})

    async def start(self) -> None:
        """Returns when every check of every service is ok; a failure ends what this call has started."""
        try:
            await self.servers.start()
            await together(*(self._migrate(name) for name in DATABASES))
            await together(*(service.start() for service in self._services))
        except BaseException:
            await self._stop_started_here()
            raise

    async def stop(self) -> None:
        """Services first, the gateway before the others, so that each can finish what it has begun."""
        *others, gateway = self._services
        await gateway.stop()
        await together(*(service.stop() for service in others))
        await self.servers.stop()

    async def _stop_started_here(self) -> None:
        everything: list[Server] = [*self._services, *self.servers.all]
        await together(*(server.stop() for server in everything if server.started_here))

    async def _migrate(self, name: str) -> None:
        owner = f"{name}_owner"
        owner_url = await self.servers.postgres.create_database(name, owner, self._passwords[owner])
        service_url = self.servers.postgres.database_url(name, self._passwords[name], name)
        await migrations.apply(name, owner_url, service_url, ROOT)
