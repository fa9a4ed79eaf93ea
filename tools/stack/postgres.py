"""A private PostgreSQL server, for the databases of both services."""

import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import asyncpg

from tools.stack.cluster import ADMIN, Cluster
from tools.stack.errors import StackError
from tools.stack.parts import Server
from tools.stack.ports import LOOPBACK
from tools.stack.processes import Command

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


class Postgres(Server):
    start_seconds = 30.0
    stop_seconds = 20.0
    # Its fast shutdown: after SIGTERM it would wait for its clients to leave.
    stop_signal = signal.SIGINT

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
        super().__init__("postgresql", folder, tied=not durable)
        self.cluster = Cluster(folder / "postgresql", say)
        self.port = port
        self.admin_url = self.database_url(ADMIN, password, "postgres")
        self._password = password
        self._durable = durable
        self._settings = {**SETTINGS, "port": str(port), **({} if durable else NOT_DURABLE), **(settings or {})}
        self._environment = {"LANG": "C.UTF-8", **(environment or {})}

    def database_url(self, user: str, password: str, database: str) -> str:
        return f"postgresql://{user}:{password}@{LOOPBACK}:{self.port}/{database}"

    async def start(self) -> None:
        """Leaves one that runs as it is; returns when it accepts a login."""
        await self.cluster.create(self._password, durable=self._durable)
        await super().start()

    def launch(self) -> None:
        self.cluster.drop_stale_lock()
        super().launch()

    async def kill(self) -> None:
        """Its immediate shutdown, as a crash: every process of it ends at once, and the next start recovers."""
        await self.daemon.stop(signal.SIGQUIT, self.stop_seconds)

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
        """Makes the database and its owner, who may create roles, where they are missing; returns the owner's URL."""
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

    def command(self) -> Command:
        options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        arguments = (self.cluster.program("postgres"), "-D", str(self.cluster.data), *options)
        return Command(arguments, self._environment, self.cluster.data, self.cluster.user)
