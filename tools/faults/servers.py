"""The servers that are broken: databases with clocks of their own, and what is done to each past the services."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias, TypeVar

import aiormq
import asyncpg
import redis.asyncio
from aiormq.abc import AbstractChannel
from pamqp.commands import Basic
from redis.exceptions import RedisError

from shared.messaging.topology import EXCHANGE, QUEUES
from tools.faults.clocks import Clock
from tools.faults.plan import PRODUCTS
from tools.stack.errors import StackError
from tools.stack.ports import LOOPBACK
from tools.stack.postgres import Postgres
from tools.stack.rabbitmq import RabbitMQ
from tools.stack.services import migrate

# A session that a frozen service has left in a transaction holds its locks for 30 s, and RabbitMQ may start for 20.
INSIST_SECONDS = 60.0
PAUSE_SECONDS = 0.1
CONNECT_SECONDS = 2.0
STATEMENT_SECONDS = 10.0
# The server is down or starting, or another session holds the lock: that passes.
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

LOCK_ROWS: Mapping[str, str] = MappingProxyType(
    {
        "products": "SELECT FROM products ORDER BY id LIMIT 1 FOR UPDATE",
        "orders": "SELECT FROM orders ORDER BY id DESC LIMIT 20 FOR UPDATE",
    }
)

# All that a client sees of Redis's clock is when keys expire. ARGV: the milliseconds by which the clock jumps ahead.
JUMP = """
for _, key in ipairs(redis.call('KEYS', '*')) do
    local left = redis.call('PTTL', key)
    if left >= 0 then redis.call('PEXPIRE', key, left - ARGV[1]) end
end
"""

# ARGV: what the entry of each product becomes, where `list` is a value of another type and `other` the entry that the
# next product had; how many products a round has; and for how many milliseconds, unless a service drops it before.
SPOIL = """
for prefix, its in pairs({['product:'] = '"id":', ['orders:product:'] = '"productId":'}) do
    for id = 1, ARGV[2] do
        local key = prefix .. id
        local found = redis.pcall('GET', key)
        if type(found) == 'string' and string.find(found, its .. id .. ',', 1, true) then
            redis.call('SET', 'seen:' .. key, found)
        end
        local other = redis.call('GET', 'seen:' .. prefix .. (id % ARGV[2] + 1))
        redis.call('DEL', key)
        if ARGV[1] == 'list' then
            redis.call('RPUSH', key, 'x')
        else
            redis.call('SET', key, ARGV[1] == 'other' and other or ARGV[1])
        end
        redis.call('PEXPIRE', key, ARGV[3])
    end
end
"""
SPOILED = ("other", "list", "no JSON", '{"id": 1}', '[{"price": 1.5}]')
SPOILED_MILLISECONDS = 1_000

Result = TypeVar("Result")
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class Database(Postgres):
    """A server of its own for `products` or `orders`; its data survive a kill of the server, not of the machine."""

    def __init__(self, name: str, folder: Path, port: int) -> None:
        self.clock = clock = Clock(folder / "clock")
        self._name = name
        self._template, self._owner = f"{name}_template", f"{name}_owner"
        self._secret = secrets.token_urlsafe(24)
        super().__init__(folder, port, self._secret, durable=False, settings=SETTINGS, environment=clock.environment)
        self._pids: set[int] = set()
        self._locking: Connection | None = None

    @property
    def url(self) -> str:
        """The URL of the superuser, past the proxies."""
        return self.admin_url.removesuffix("postgres") + self._name

    def service_url(self, port: int) -> str:
        """The URL of the service's own role, by way of a proxy at `port`."""
        return f"postgresql://{self._name}:{self._secret}@{LOOPBACK}:{port}/{self._name}"

    async def start(self) -> None:
        await super().start()
        if pid := self.daemon.pid:
            self._pids.add(pid)

    async def remove(self) -> None:
        """Stops it and deletes the data."""
        await self.stop()
        self.data_folder.remove()
        for pid in self._pids:
            self.clock.clear(pid)

    async def prepare(self) -> None:
        """Makes the template that every round's database is a copy of."""
        owner_url = await self.create_database(self._template, self._owner, self._secret)
        service_url = self.database_url(self._name, self._secret, self._template)
        await migrate(self._name, owner_url, service_url)

    async def renew(self) -> None:
        """Replaces the database by an empty one."""
        await self._insist(
            f"DROP DATABASE IF EXISTS {self._name} WITH (FORCE)",
            f"CREATE DATABASE {self._name} TEMPLATE {self._template} OWNER {self._owner}",
            url=self.admin_url,
        )

    async def refuse_writes(self, *, refuse: bool) -> None:
        """Sets the mode of a standby for all sessions and those to come, also after a restart."""
        await self._insist(
            f"ALTER SYSTEM SET default_transaction_read_only = {'on' if refuse else 'off'}",
            "SELECT pg_reload_conf()",
            url=self.url,
        )

    async def refuse_rows(self, *, refuse: bool) -> None:
        """Fakes what a session sees of a full disk, because filling a real one needs privileges."""
        await self._insist(f"BEGIN; {FILL_DISK if refuse else FREE_DISK} COMMIT", url=self.url)

    async def refuse_connections(self, *, refuse: bool) -> None:
        """Also those of a superuser; the sessions that are open end."""
        await self._insist(
            f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS {not refuse}",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self._name}'",
            url=self.admin_url,
        )

    async def dump(self) -> None:
        """Copies the database, for which its sessions have to end; new ones are refused for that moment."""
        await self.refuse_connections(refuse=True)
        await self._insist(
            f"DROP DATABASE IF EXISTS {self._name}_dump",
            f"CREATE DATABASE {self._name}_dump TEMPLATE {self._name} OWNER {self._owner}",
            url=self.admin_url,
        )
        await self.refuse_connections(refuse=False)

    async def restore(self) -> None:
        """Puts the copy in the place of the database."""
        await self._insist(
            f"DROP DATABASE IF EXISTS {self._name} WITH (FORCE)",
            f"ALTER DATABASE {self._name}_dump RENAME TO {self._name}",
            url=self.admin_url,
        )

    async def lock(self) -> None:
        """Opens the session that forgets its transaction."""
        self._locking = await self._session("BEGIN", LOCK_ROWS[self._name], url=self.url)

    def unlock(self) -> None:
        if self._locking:
            self._locking.terminate()

    async def _insist(self, *statements: str, url: str) -> None:
        (await self._session(*statements, url=url)).terminate()

    async def _session(self, *statements: str, url: str) -> Connection:
        """An open session that has run the statements."""

        async def attempt() -> Connection:
            connection = await asyncpg.connect(
                url,
                timeout=CONNECT_SECONDS,
                command_timeout=STATEMENT_SECONDS,
                server_settings={"default_transaction_read_only": "off"},
            )
            try:
                for statement in statements:
                    await connection.execute(statement)
            except BaseException:
                connection.terminate()
                raise
            return connection

        return await insist(f"changing {self._name}-db", attempt, *TRANSIENT)


async def flush_redis(url: str) -> None:
    await _insist_redis(url, lambda client: client.flushall())


async def spoil_redis(url: str, spoiled: str) -> None:
    """Puts one of SPOILED where a Redis has, or would have, an entry of a product."""
    await _insist_redis(
        url, lambda client: client.register_script(SPOIL)(args=[spoiled, PRODUCTS, SPOILED_MILLISECONDS])
    )


async def jump_redis(url: str, seconds: float) -> None:
    """Moves the clock of a Redis by so many seconds from where it is."""
    await _insist_redis(url, lambda client: client.register_script(JUMP)(args=[round(seconds * 1000)]))


async def delete_queues(url: str, *names: str) -> None:
    """Deletes queues with what is in them; one that does not exist is no error."""

    async def delete(channel: AbstractChannel) -> None:
        for name in names:
            await channel.queue_delete(name)

    await _insist_rabbitmq(url, delete)


async def delete_bindings(url: str, name: str) -> None:
    """The exchange leads to that queue no more; what is in it stays, and its consumers too."""

    async def delete(channel: AbstractChannel) -> None:
        for queue in QUEUES:
            if queue.name == name:
                for event_type in queue.types:
                    await channel.queue_unbind(name, EXCHANGE, event_type)

    await _insist_rabbitmq(url, delete)


async def delete_dead(url: str, name: str) -> None:
    """Deletes the place of a queue's dead letters, and puts a message into the queue that no consumer can read."""
    await delete_queues(url, f"{name}.dead")
    properties = Basic.Properties(delivery_mode=2)
    await _insist_rabbitmq(
        url, lambda channel: channel.basic_publish(b"no event", routing_key=name, properties=properties)
    )


async def allow_memory(rabbitmq: RabbitMQ, share: str) -> None:
    """Lets the broker use a share of the machine's memory; with none it raises its memory alarm at once."""
    await insist("the memory alarm", lambda: rabbitmq.control("set_vm_memory_high_watermark", share), StackError)


async def insist(what: str, attempt: Callable[[], Awaitable[Result]], *passing: type[Exception]) -> Result:
    """Repeats an attempt as long as it fails with one of `passing`. Raises StackError after a minute."""
    last: Exception | None = None
    try:
        async with asyncio.timeout(INSIST_SECONDS):
            while True:
                try:
                    return await attempt()
                except passing as error:
                    last = error
                await asyncio.sleep(PAUSE_SECONDS)
    except TimeoutError:
        raise StackError(f"{what}: not possible within {INSIST_SECONDS:g} s, at last: {last!r}") from last


async def _insist_rabbitmq(url: str, work: Callable[[AbstractChannel], Awaitable[object]]) -> None:
    async def attempt() -> None:
        async with asyncio.timeout(STATEMENT_SECONDS):
            connection = await aiormq.connect(url)
            try:
                await work(await connection.channel())
            finally:
                await connection.close()

    await insist(f"changing {url}", attempt, OSError, aiormq.exceptions.AMQPError)


async def _insist_redis(url: str, work: Callable[["redis.asyncio.Redis"], Awaitable[object]]) -> None:
    async def attempt() -> None:
        async with asyncio.timeout(CONNECT_SECONDS), redis.asyncio.Redis.from_url(url) as client:
            await work(client)

    await insist(f"changing {url}", attempt, RedisError, OSError)
