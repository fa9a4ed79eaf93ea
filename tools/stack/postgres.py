"""A private PostgreSQL server, for the databases of both services."""

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path

import asyncpg
import psutil

from tools.stack import jobs, programs
from tools.stack.errors import StackError
from tools.stack.parts import Server
from tools.stack.ports import LOOPBACK
from tools.stack.processes import Command
from tools.terminal import say_error

ADMIN = "postgres"
# PostgreSQL refuses to run as root; Debian's package brings this user.
SYSTEM_USER = "postgres"
# Not /var/tmp, where systemd deletes what was not touched for a month.
ELSEWHERE = Path("/var/lib/product-order-system")
INIT_SECONDS = 60
CHECK_SECONDS = 5
ANSWER_SECONDS = 2.0
STATEMENT_SECONDS = 20.0

INIT_OPTIONS = ("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums")
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


class DataFolder:
    """The data folder: where it can be, how it is made, what a crash leaves in it."""

    def __init__(self, folder: Path) -> None:
        """`folder` becomes a link if the server's user cannot reach it, which is said."""
        self.user = SYSTEM_USER if os.geteuid() == 0 else None
        self._folder = folder

    @property
    def data(self) -> Path:
        return self._folder.resolve() / "data"

    def program(self, name: str) -> str:
        """The program of the version that made the data, if there are any: no other version can read them."""
        with contextlib.suppress(FileNotFoundError):
            version = (self.data / "PG_VERSION").read_text().strip()
            same = programs.POSTGRES_VERSIONS / version / "bin" / name
            if same.exists():
                return str(same)
        return str(Path(programs.require("postgres")).with_name(name))

    async def create(self, password: str, *, durable: bool) -> None:
        """Leaves a complete one as it is; takes a second or two."""
        await self._make_folder()
        if self.data.exists():
            return
        draft, password_file = self.data.with_name("draft"), self.data.with_name("password")
        shutil.rmtree(draft, ignore_errors=True)
        password_file.touch(mode=0o600)
        password_file.write_text(password)
        self._give(password_file)
        options = (*INIT_OPTIONS, *(() if durable else ("--no-sync",)))
        login = (f"--username={ADMIN}", f"--pwfile={password_file}")
        command = (self.program("initdb"), "-D", str(draft), *login, *options)
        try:
            await jobs.finish("initdb", command, INIT_SECONDS, folder=draft.parent, user=self.user)
        finally:
            password_file.unlink()
        draft.rename(self.data)

    def drop_stale_lock(self) -> None:
        """PostgreSQL would not start if the pid it had before a crash is another process's by now, or a zombie's."""
        lock = self.data / "postmaster.pid"
        with contextlib.suppress(OSError, ValueError, IndexError, psutil.Error):
            if psutil.Process(int(lock.read_text().split()[0])).cwd() == str(self.data):
                return
        lock.unlink(missing_ok=True)

    def remove(self) -> None:
        """Deletes the data, wherever they are; the server must be stopped."""
        shutil.rmtree(self._folder.resolve(), ignore_errors=True)
        self._folder.unlink(missing_ok=True)

    async def _make_folder(self) -> None:
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        if self.user and not self._folder.exists() and not await self._reachable(self._folder.parent):
            self._link_elsewhere()
        self._folder.mkdir(exist_ok=True)
        self._folder.chmod(0o700)
        self._give(self._folder)

    async def _reachable(self, folder: Path) -> bool:
        """Asks the kernel in the user's name: modes alone do not decide, there are access lists too."""
        try:
            await jobs.finish("test", ("test", "-x", str(folder)), CHECK_SECONDS, user=self.user)
        except StackError:
            return False
        return True

    def _link_elsewhere(self) -> None:
        ELSEWHERE.mkdir(parents=True, exist_ok=True)
        elsewhere = tempfile.mkdtemp(dir=ELSEWHERE)
        self._folder.unlink(missing_ok=True)  # a link that leads nowhere any more
        self._folder.symlink_to(elsewhere)
        say_error(f"PostgreSQL's data is in {elsewhere}: its user cannot reach {self._folder.parent}")

    def _give(self, path: Path) -> None:
        if self.user:
            shutil.chown(path, self.user, self.user)


class Postgres(Server):
    start_seconds = 30.0
    stop_seconds = 20.0
    # The fast shutdown: after SIGTERM PostgreSQL would wait for its clients to leave.
    stop_signal = signal.SIGINT
    # The immediate shutdown: every process of it ends at once, and the next start recovers as after a crash.
    kill_signal = signal.SIGQUIT

    def __init__(
        self,
        folder: Path,
        port: int,
        password: str,
        *,
        durable: bool,
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`durable=False` is for data that need not outlive this program; `settings` go over all others."""
        super().__init__("postgresql", folder, tied=not durable)
        self.data_folder = DataFolder(folder / "postgresql")
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
        await self.data_folder.create(self._password, durable=self._durable)
        await super().start()

    def launch(self) -> None:
        self.data_folder.drop_stale_lock()
        super().launch()

    def command(self) -> Command:
        options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        arguments = (self.data_folder.program("postgres"), "-D", str(self.data_folder.data), *options)
        return Command(arguments, self._environment, self.data_folder.data, self.data_folder.user)

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
        """Returns the owner's URL."""
        await create_database(self.admin_url, name, owner, password)
        return self.database_url(owner, password, name)


async def create_database(admin_url: str, name: str, owner: str, password: str) -> None:
    """Makes the database and its owner, who may create roles, where they are missing."""
    connection = await asyncpg.connect(admin_url, timeout=ANSWER_SECONDS, command_timeout=STATEMENT_SECONDS)
    try:
        # The server logs a statement that fails, and this one holds a password.
        await connection.execute("SET log_min_error_statement = panic")
        verb = "ALTER" if await connection.fetchval(FIND_ROLE, owner) else "CREATE"
        await connection.execute(f"{verb} ROLE {owner} LOGIN CREATEROLE PASSWORD '{password}'")
        if not await connection.fetchval(FIND_DATABASE, name):
            await connection.execute(f"CREATE DATABASE {name} OWNER {owner}")
    finally:
        await connection.close(timeout=ANSWER_SECONDS)
