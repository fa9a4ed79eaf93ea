"""A database on a server of its own, and what can be wrong with it short of being down."""

import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import asyncpg

from tools.faults.clocks import Clock
from tools.faults.insistence import insist
from tools.stack.ports import LOOPBACK
from tools.stack.postgres import Postgres
from tools.stack.processes import Daemon
from tools.stack.services import migrate

CONNECT_SECONDS = 2.0
STATEMENT_SECONDS = 10.0
# Down, starting, or somebody holds the lock: that passes.
TRANSIENT = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.LockNotAvailableError,
    asyncpg.TransactionRollbackError,
)

# At commit the log goes to the operating system, which outlives the server; with it off, a killed server would lose
# what it has committed within the last half second.
SETTINGS = {"synchronous_commit": "on"}

# The words are PostgreSQL's own (mdextend). Writers hold these tables all the time, so it must not queue for long.
FILL_DISK = """
SET LOCAL lock_timeout = '300ms';
CREATE OR REPLACE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE disk_full USING
        MESSAGE = 'could not extend file "base/16384/16397": No space left on device',
        HINT = 'Check free disk space.';
END $$;
DO $$
DECLARE
    growing name;
BEGIN
    FOR growing IN
        SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'schema_migrations'
    LOOP
        EXECUTE format(
            'CREATE OR REPLACE TRIGGER disk_full BEFORE INSERT ON %I'
            ' FOR EACH ROW EXECUTE FUNCTION disk_full()', growing
        );
    END LOOP;
END $$;
"""
FREE_DISK = """
SET LOCAL lock_timeout = '300ms';
DROP FUNCTION IF EXISTS disk_full() CASCADE;
"""

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class Database:
    """`products` or `orders`; its data survive that the server is killed, not that the machine is."""

    def __init__(self, name: str, folder: Path, port: int, clock: Clock, say: Callable[[str], None]) -> None:
        self.clock = clock
        self._name = name
        self._password = secrets.token_urlsafe(24)
        self._postgres = Postgres(
            folder, port, self._password, say, durable=False, settings=SETTINGS, environment=clock.environment
        )
        self._pids: set[int] = set()

    @property
    def daemon(self) -> Daemon:
        return self._postgres.daemon

    @property
    def url(self) -> str:
        """Of the superuser, who may look at everything."""
        return self._postgres.admin_url.removesuffix("postgres") + self._name

    def service_url(self, port: int) -> str:
        """Of the service's own role, by way of `port`."""
        return f"postgresql://{self._name}:{self._password}@{LOOPBACK}:{port}/{self._name}"

    async def start(self) -> None:
        await self._postgres.start()
        if pid := self.daemon.pid:
            self._pids.add(pid)

    async def stop(self) -> None:
        await self._postgres.stop()

    async def kill(self) -> None:
        await self._postgres.kill()

    async def remove(self) -> None:
        """Stops it and deletes the data."""
        await self.stop()
        self._postgres.cluster.remove()
        for pid in self._pids:
            self.clock.clear(pid)

    async def prepare(self) -> None:
        """Makes the template that every round's database is a copy of."""
        owner_url = await self._postgres.create_database(self._template, self._owner, self._password)
        service_url = self._postgres.database_url(self._name, self._password, self._template)
        await migrate(self._name, owner_url, service_url)

    async def renew(self) -> None:
        """Puts an empty one in its place."""

        async def replace(connection: Connection) -> None:
            await connection.execute(f"DROP DATABASE IF EXISTS {self._name} WITH (FORCE)")
            await connection.execute(f"CREATE DATABASE {self._name} TEMPLATE {self._template} OWNER {self._owner}")

        await self._insist(replace, self._postgres.admin_url)

    async def refuse_writes(self, *, refuse: bool) -> None:
        """As a server that has become a standby; its sessions and those to come, also after a restart."""

        async def change(connection: Connection) -> None:
            await connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {'on' if refuse else 'off'}")
            await connection.execute("SELECT pg_reload_conf()")

        await self._insist(change, self.url)

    async def refuse_rows(self, *, refuse: bool) -> None:
        """What a session sees of a full disk: a disk that is full in earnest takes privileges to make."""

        async def change(connection: Connection) -> None:
            async with connection.transaction():
                await connection.execute(FILL_DISK if refuse else FREE_DISK)

        await self._insist(change, self.url)

    async def _insist(self, work: Callable[[Connection], Awaitable[None]], url: str) -> None:
        await insist(f"changing {self._name}-db", lambda: self._once(work, url), *TRANSIENT)

    async def _once(self, work: Callable[[Connection], Awaitable[None]], url: str) -> None:
        connection = await asyncpg.connect(
            url,
            timeout=CONNECT_SECONDS,
            command_timeout=STATEMENT_SECONDS,
            server_settings={"default_transaction_read_only": "off"},
        )
        try:
            await work(connection)
        finally:
            connection.terminate()

    @property
    def _template(self) -> str:
        return f"{self._name}_template"

    @property
    def _owner(self) -> str:
        return f"{self._name}_owner"
