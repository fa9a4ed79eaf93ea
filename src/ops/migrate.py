"""Applies the numbered SQL files of one database: forward only, each in one transaction, each once.

The owner's URL names the role that owns the schema. The service's own role is created if it is missing; it may read
and write rows, nothing else.
"""

import argparse
import asyncio
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncpg

from ops.errors import OpsError, first_line
from ops.output import Answer
from shared.settings import PostgresUrl, Settings, SettingsError
from shared.tasks import backoff

MIGRATIONS = Path(__file__).parents[2] / "migrations"
DATABASES = ("orders", "products")

_FILE = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_LOCK = 0x6D696772  # any constant, as long as every run takes the same
_WAIT_FOR_SERVER = 30.0
_STATEMENT_LIMIT = 600.0

_LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


class MigrationError(Exception):
    """Names the file that is missing, changed or out of sequence, or the role that cannot be used."""


_FAILURES = (MigrationError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)


def read(folder: Path) -> list[Migration]:
    """The files in order. Raises MigrationError for a name of another form or a gap in the numbers."""
    migrations = []
    for number, path in enumerate(sorted(folder.glob("*.sql")), 1):
        match = _FILE.fullmatch(path.name)
        if match is None or int(match[1]) != number:
            raise MigrationError(f"{path.name}: expected {number:04}_name.sql")
        migrations.append(Migration(number, path.name, path.read_text()))
    if not migrations:
        raise MigrationError(f"{folder}: no migrations")
    return migrations


def pending(files: Sequence[Migration], applied: Mapping[int, tuple[str, str]]) -> Sequence[Migration]:
    """The files that are left to apply; `applied` maps version to name and checksum. Raises MigrationError."""
    for version, (name, checksum) in sorted(applied.items()):
        if version > len(files) or files[version - 1].name != name:
            raise MigrationError(f"{name}: was applied, but the file is missing")
        if files[version - 1].checksum != checksum:
            raise MigrationError(f"{name}: was changed after it was applied")
    return files[len(applied) :]


@dataclass(frozen=True, kw_only=True, repr=False)
class _Settings(Settings):
    database_owner_url: PostgresUrl
    database_url: PostgresUrl


async def run(environ: Mapping[str, str], options: argparse.Namespace) -> Answer:
    """Raises SettingsError or OpsError."""
    urls, database = _Settings.load(environ), options.database
    try:
        applied = await migrate(urls.database_owner_url, urls.database_url, MIGRATIONS / database)
    except asyncpg.ClientConfigurationError as error:
        raise SettingsError([f"DATABASE_OWNER_URL: {error.args[0]}"]) from None
    except TimeoutError as error:
        raise OpsError(f"{database}: the server does not answer") from error
    except _FAILURES as error:
        raise OpsError(f"{database}: {first_line(error)}") from error
    return Answer(
        {"database": database, "applied": applied}, f"migrate {database}: {', '.join(applied) or 'nothing to do'}"
    )


async def migrate(owner_url: str, service_url: str, folder: Path) -> list[str]:
    """Returns the names of the files that this run applied; concurrent runs wait for each other."""
    files = read(folder)
    connection = await _connect(owner_url)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        await connection.execute(_LEDGER)
        rows = await connection.fetch("SELECT version, name, checksum FROM schema_migrations")
        todo = pending(files, {row["version"]: (row["name"], row["checksum"]) for row in rows})
        for migration in todo:
            await _apply(connection, migration)
        await _grant(connection, service_url)
    finally:
        await connection.close()
    return [migration.name for migration in todo]


async def _connect(owner_url: str) -> "asyncpg.Connection[asyncpg.Record]":
    pauses = backoff()
    async with asyncio.timeout(_WAIT_FOR_SERVER):
        while True:
            try:
                return await asyncpg.connect(owner_url, timeout=5, command_timeout=_STATEMENT_LIMIT)
            except (OSError, TimeoutError, asyncpg.CannotConnectNowError):
                await asyncio.sleep(next(pauses))


async def _apply(connection: "asyncpg.Connection[asyncpg.Record]", migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute(migration.sql)
        await connection.execute(
            "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
            migration.version,
            migration.name,
            migration.checksum,
        )


async def _grant(connection: "asyncpg.Connection[asyncpg.Record]", service_url: str) -> None:
    parts = urlsplit(service_url)
    role, password = unquote(parts.username or ""), unquote(parts.password or "")
    if role == await connection.fetchval("SELECT current_user"):
        raise MigrationError("DATABASE_URL names the owner of the schema; the service needs a role of its own")
    quoted_role = '"' + role.replace('"', '""') + '"'
    quoted_password = await connection.fetchval("SELECT quote_literal($1::text)", password)
    exists = await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role)
    verb = "ALTER" if exists else "CREATE"
    await connection.execute(f"{verb} ROLE {quoted_role} LOGIN PASSWORD {quoted_password}")
    await connection.execute(
        f"""
        GRANT USAGE ON SCHEMA public TO {quoted_role};
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {quoted_role};
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {quoted_role};
        REVOKE ALL ON schema_migrations FROM {quoted_role};
        """
    )
