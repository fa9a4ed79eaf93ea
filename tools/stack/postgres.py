"""A private PostgreSQL server, for the databases of both services."""

import asyncio
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import asyncpg

from tools.stack.cluster import ADMIN, Cluster
from tools.stack.errors import StackError
from tools.stack.ports import LOOPBACK
from tools.stack.processes import Command, Daemon

START_SECONDS = 30.0
STOP_SECONDS = 20.0
ANSWER_SECONDS = 2.0
STATEMENT_SECONDS = 20.0

SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "effective_cache_size": "512MB",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

FIND_ROLE = "SELECT true FROM pg_roles WHERE rolname = $1"
FIND_DATABASE = "SELECT true FROM pg_database WHERE datname = $1"


class Postgres:
    def __init__(
        self,
        folder: Path,
        port: int,
        password: str,
        say: Callable[[str], None],
        *,
        durable: bool,
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`durable=False` is for data that need not outlive this program; `settings` go over all others."""
        self.daemon = Daemon("postgresql", folder, tied=not durable)
        self.cluster = Cluster(folder / "postgresql", say)
        self.port = port
        self.admin_url = self.database_url(ADMIN, password, "postgres")
        self._password = password
        self._durable = durable
        self._settings = {**SETTINGS, "port": str(port), **({} if durable else NOT_DURABLE), **(settings or {})}
        self._environment = {"LANG": "C.UTF-8", **(environment or {})}

    def database_url(self, user: str, password: str, database: str) -> str:
        return f"postgresql://{user}:{password}@{LOOPBACK}:{self.port}/{database}"

    @property
    def started_here(self) -> bool:
        return self.daemon.started_here

    async def start(self) -> None:
        """Leaves one that runs as it is; returns when it accepts a login."""
        await asyncio.to_thread(self.cluster.create, self._password, durable=self._durable)
        command = self._command()
        if not self.daemon.runs(command):
            await self.stop()
            self.cluster.drop_stale_lock()
            self.daemon.start(command)
        await self.daemon.ready(self.answers, START_SECONDS)

    async def stop(self) -> None:
        # SIGINT is its fast shutdown: after SIGTERM it would wait for its clients to leave.
        await self.daemon.stop(signal.SIGINT, STOP_SECONDS)

    async def kill(self) -> None:
        """Its immediate shutdown, as a crash: every process of it ends at once, and the next start recovers."""
        await self.daemon.stop(signal.SIGQUIT, STOP_SECONDS)

    async def answers(self) -> bool:
        try:
            connection = await asyncpg.connect(self.admin_url, timeout=ANSWER_SECONDS)
        except asyncpg.InvalidPasswordError:
            raise StackError("postgresql has another password than the one kept in postgresql.json") from None
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        await connection.close(timeout=ANSWER_SECONDS)
        return True

    async def create_database(self, name: str, owner: str, password: str) -> str:
        """Makes what is missing of the two; the URL of the owner, who may create roles."""
        connection = await asyncpg.connect(self.admin_url, timeout=ANSWER_SECONDS, command_timeout=STATEMENT_SECONDS)
        try:
            # The server logs a statement that fails, and this one holds a password.
            await connection.execute("SET log_min_error_statement = panic")
            verb = "ALTER" if await connection.fetchval(FIND_ROLE, owner) else "CREATE"
            await connection.execute(f"{verb} ROLE {owner} LOGIN CREATEROLE PASSWORD '{password}'")
            if not await connection.fetchval(FIND_DATABASE, name):
                await connection.execute(f"CREATE DATABASE {name} OWNER {owner}")
        finally:
            await connection.close(timeout=ANSWER_SECONDS)
        return self.database_url(owner, password, name)

    def _command(self) -> Command:
        options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        arguments = (self.cluster.program("postgres"), "-D", str(self.cluster.data), *options)
        return Command(arguments, self._environment, self.cluster.data, self.cluster.user)
