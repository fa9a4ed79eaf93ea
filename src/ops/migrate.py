"""Brings the schema of one database up to date, forward only, while the services go on working on it.

The owner's URL names the role that owns the schema. The service's own role is created if it is missing, and so is the
operator's. Each run gives the service's role what `ops.grants` says, and the operator's the rows of every table, and
both those of their settings that nobody has set.
"""

import argparse
import asyncio
import base64
import hashlib
import hmac
import os
import stringprep
import sys
import time
import unicodedata
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

import asyncpg

from ops.errors import OpsError, first_line
from ops.grants import OF_SERVICES
from ops.output import Answer
from ops.sql_files import Migration, MigrationError, Mode, Statement, pending, read
from shared.db import connect
from shared.settings import PostgresUrl, Settings, SettingsError, each_host
from shared.tasks import backoff

MIGRATIONS = Path(__file__).parents[2] / "migrations"
DATABASES = ("orders", "products")

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Note = Callable[[str], None]

_LOCK = 0x6D696772  # any constant, as long as every run takes the same
# Seconds.
_WAIT_FOR_SERVER = 30.0
_SIGN_IN = 5.0
_STATEMENT_LIMIT = 3600.0
_PATIENCE = 600.0
# A statement that waits for a lock holds up all that come after it. A request of the services may wait 1.5 s.
_LOCK_MILLISECONDS = 500
# Of the roles, because a pooler passes no settings of a session on. A row that somebody keeps locked is known from a
# database that does not answer, because the services give that 1.5 s. Then they close the connection, and the server
# looks after each second of a statement whether that is so.
_SERVICE_SETTINGS = {
    "jit": "off",
    "idle_in_transaction_session_timeout": "30s",
    "lock_timeout": "1s",
    "client_connection_check_interval": "1s",
}
# People forget the transactions that they have begun.
_OPERATOR_SETTINGS = {"idle_in_transaction_session_timeout": "60s", "lock_timeout": "5s"}
# RFC 7677 §4 asks for at least as many, and PostgreSQL takes as many itself.
_SCRAM_ITERATIONS = 4096

_LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""
_TABLES = "SELECT quote_ident(table_name) FROM information_schema.tables WHERE table_schema = 'public'"  # and views
_ROWS = "SELECT, INSERT, UPDATE, DELETE"
_SET_ALREADY = "SELECT split_part(unnest(rolconfig), '=', 1) FROM pg_roles WHERE rolname = $1"
_LOCK_TAKEN = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)
_FAILURES = (MigrationError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)


@dataclass(frozen=True, kw_only=True, repr=False)
class _Settings(Settings):
    database_owner_url: PostgresUrl
    database_url: PostgresUrl
    operator_database_url: PostgresUrl = ""


async def run(environ: Mapping[str, str], options: argparse.Namespace) -> Answer:
    """Raises SettingsError or OpsError."""
    urls, database = _Settings.load(environ), options.database
    roles = (urls.database_owner_url, urls.database_url)
    try:
        folder, grants = MIGRATIONS / database, OF_SERVICES[database]
        applied, newer = await migrate(*roles, folder, grants, _to_stderr, operator_url=urls.operator_database_url)
    except asyncpg.ClientConfigurationError as error:
        raise SettingsError([f"DATABASE_OWNER_URL: {error.args[0]}"]) from None
    except TimeoutError as error:
        raise OpsError(f"{database}: the server does not answer") from error
    except _FAILURES as error:
        raise OpsError(f"{database}: {first_line(error)}") from error
    text = f"migrate {database}: {', '.join(applied) or 'nothing to do'}"
    if newer:
        text += f"\nwarning: the schema is newer than this release, which does not know {', '.join(newer)}"
    return Answer({"database": database, "applied": applied, "newer": newer}, text)


async def migrate(
    owner_url: str,
    service_url: str,
    folder: Path,
    grants: Mapping[str, str],
    note: Note = lambda _: None,
    *,
    operator_url: str = "",
) -> tuple[list[str], list[str]]:
    """Applies what is missing; concurrent runs wait for each other. `note` receives lines about the progress.

    Returns the names of the files that it has applied, and of those that a newer release has applied before.
    """
    files = read(folder)
    connection = await _connect(owner_url)
    try:
        if await connection.fetchval("SELECT pg_backend_pid()") != connection.get_server_pid():
            raise MigrationError("DATABASE_OWNER_URL leads to a pooler, which may lose locks: name the server itself")
        await _lock(connection)
        await connection.execute(_LEDGER)
        rows = await connection.fetch("SELECT version, name, checksum FROM schema_migrations ORDER BY version")
        todo = pending(files, {row["version"]: (row["name"], row["checksum"]) for row in rows})
        for migration in todo:
            await _apply(connection, migration, note)
        tables = [name for (name,) in await connection.fetch(_TABLES)]
        # A table without a grant is of a newer release, which may be running: what that has granted stays.
        allowed = {table: grants[table] for table in tables if table in grants}
        await _prepare_role(connection, "DATABASE_URL", service_url, allowed, _SERVICE_SETTINGS)
        if operator_url:
            allowed = {**dict.fromkeys(tables, _ROWS), "schema_migrations": "SELECT"}
            await _prepare_role(connection, "OPERATOR_DATABASE_URL", operator_url, allowed, _OPERATOR_SETTINGS)
    finally:
        await connection.close()
    return [migration.name for migration in todo], [row["name"] for row in rows[len(files) :]]


async def _connect(owner_url: str) -> Connection:
    pauses = backoff()
    async with asyncio.timeout(_WAIT_FOR_SERVER):
        while True:
            try:
                # Without prepared statements, so that a pooler gets as far as being refused.
                return await connect(
                    owner_url, timeout=_SIGN_IN, command_timeout=_STATEMENT_LIMIT, statement_cache_size=0
                )
            except (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.TargetServerAttributeNotMatched):
                await asyncio.sleep(next(pauses))


async def _lock(connection: Connection) -> None:
    """A session that waits in PostgreSQL holds a snapshot, which a CONCURRENTLY of the other run would wait for."""
    async with asyncio.timeout(_STATEMENT_LIMIT):
        for pause in backoff(first=0.1, most=1.0):
            if await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
                return
            await asyncio.sleep(pause)


async def _apply(connection: Connection, migration: Migration, note: Note) -> None:
    if migration.mode is Mode.TRANSACTION:
        await _until_unlocked(partial(_in_transaction, connection, migration), migration.name, note)
        return
    for statement in migration.statements():
        total = 0
        while True:
            rows = await _until_unlocked(partial(_execute, connection, migration, statement), migration.name, note)
            if not rows or migration.mode is not Mode.BATCHES:
                break
            total += rows
            note(f"{migration.name}: {total} rows")
    await _record(connection, migration)


async def _until_unlocked(step: Callable[[], Awaitable[int]], name: str, note: Note) -> int:
    """Repeats a step that did not get its locks within half a second, so that others go on in between."""
    pauses = backoff(first=1.0, most=10.0)
    give_up = time.monotonic() + _PATIENCE
    while True:
        try:
            return await step()
        except _LOCK_TAKEN as error:
            if time.monotonic() > give_up:
                raise MigrationError(f"{name}: {first_line(error)}; pg_stat_activity shows who holds it") from error
            note(f"{name}: another transaction holds a lock; tries again")
            await asyncio.sleep(next(pauses))


async def _in_transaction(connection: Connection, migration: Migration) -> int:
    async with connection.transaction():
        for statement in migration.statements():
            await _execute(connection, migration, statement)
        await _record(connection, migration)
    return 0


async def _execute(connection: Connection, migration: Migration, statement: Statement) -> int:
    """The number of rows that it changed. Raises MigrationError with file and line, or one of _LOCK_TAKEN."""
    # A CONCURRENTLY waits for older transactions without holding anybody up.
    limit = 0 if "CONCURRENTLY" in statement.sql.upper() else _LOCK_MILLISECONDS
    await connection.execute(f"SET lock_timeout = {limit}")
    try:
        status = await connection.execute(statement.sql)
    except _LOCK_TAKEN:
        raise
    except asyncpg.PostgresError as error:
        line = statement.line_at(error.position)
        raise MigrationError(f"{migration.name}:{line}: {first_line(error)}") from error
    count = status.split()[-1]  # "UPDATE 500", but "CREATE TABLE"
    return int(count) if count.isdigit() else 0


async def _record(connection: Connection, migration: Migration) -> None:
    await connection.execute(
        "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
        migration.version,
        migration.name,
        migration.checksum,
    )


async def _prepare_role(
    connection: Connection, variable: str, url: str, allowed: Mapping[str, str], settings: Mapping[str, str]
) -> None:
    """Takes away what is not allowed, and lets nobody into the database who was not let in by such a call."""
    login = urlsplit(each_host(url)[0])
    name, password = (unquote(part or "") for part in (login.username, login.password))
    if name == await connection.fetchval("SELECT current_user"):
        raise MigrationError(f"{variable} names the owner of the schema instead of a role of its own")
    [(role, database)] = await connection.fetch("SELECT quote_ident($1::text), quote_ident(current_database())", name)
    if not await _can_sign_in(url):
        exists = await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", name)
        verifier = scram_verifier(password, os.urandom(16))
        await connection.execute(f"{'ALTER' if exists else 'CREATE'} ROLE {role} LOGIN PASSWORD '{verifier}'")
    rows = (
        f"REVOKE ALL ON {table} FROM {role}; GRANT {what} ON {table} TO {role};" for table, what in allowed.items()
    )
    await connection.execute(  # as one transaction
        f"""
        GRANT CONNECT ON DATABASE {database} TO {role};
        REVOKE ALL ON DATABASE {database} FROM PUBLIC;
        GRANT USAGE ON SCHEMA public TO {role};
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role};
        {"".join(rows)}
        """
    )
    own = {setting for (setting,) in await connection.fetch(_SET_ALREADY, name)}
    if missing := " ".join(f"ALTER ROLE {role} SET {key} = '{settings[key]}';" for key in settings if key not in own):
        try:
            await connection.execute(missing)
        except asyncpg.InsufficientPrivilegeError as error:
            raise MigrationError(f"{variable}: a superuser has to do this for its role: {missing}") from error


async def _can_sign_in(url: str) -> bool:
    """Whether the role is there and has the password; a role that an operator has made is then left as it is."""
    try:
        connection = await connect(url, timeout=_SIGN_IN)
    except asyncpg.InsufficientPrivilegeError:  # it has, and lacks CONNECT, which it is about to get
        return True
    except (asyncpg.InvalidAuthorizationSpecificationError, OSError, TimeoutError):
        return False
    await connection.close()
    return True


def scram_verifier(password: str, salt: bytes) -> str:
    """What PostgreSQL stores of a password (RFC 5803), so that the password itself is in no statement and no log."""
    # SASLprep (RFC 4013) as far as it maps; a password that it forbids is taken as it is by PostgreSQL too.
    letters = (" " if stringprep.in_table_c12(c) else c for c in password if not stringprep.in_table_b1(c))
    prepared = unicodedata.normalize("NFKC", "".join(letters)).encode()
    salted = hashlib.pbkdf2_hmac("sha256", prepared, salt, _SCRAM_ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    text = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${_SCRAM_ITERATIONS}:{text[0]}${text[1]}:{text[2]}"


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
