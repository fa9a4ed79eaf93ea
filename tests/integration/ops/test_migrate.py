import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from ops.migrate import MIGRATIONS, MigrationError, migrate
from tests.databases import Databases, fetch
from tests.integration.outages import stopped
from tools.stack.servers import Servers

FILES = ["0001_lamps.sql", "0002_bulbs.sql"]


@pytest.fixture
async def owner_url(databases: Databases) -> AsyncIterator[str]:
    """The URL of an empty database."""
    async with databases.empty() as url:
        yield url


@pytest.fixture
def service_url(owner_url: str) -> str:
    """The URL of a role that `migrate` makes."""
    return urlsplit(owner_url)._replace(netloc=f"a-service:p%40ss@127.0.0.1:{urlsplit(owner_url).port}").geturl()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / FILES[0]).write_text("CREATE TABLE lamps (id bigint GENERATED ALWAYS AS IDENTITY, name text);")
    (tmp_path / FILES[1]).write_text("CREATE TABLE bulbs (watt int); INSERT INTO bulbs VALUES (60);")
    return tmp_path


async def tables(url: str) -> list[str]:
    rows = await fetch(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    return [name for (name,) in rows]


@pytest.mark.parametrize("service", ["products", "orders"])
async def test_the_migrations_of_each_service_apply_once(owner_url: str, service_url: str, service: str) -> None:
    first, second = [await migrate(owner_url, service_url, MIGRATIONS / service) for _ in range(2)]

    assert first == sorted(path.name for path in (MIGRATIONS / service).iterdir())
    assert second == []


async def test_concurrent_runs_apply_each_file_once(owner_url: str, service_url: str, folder: Path) -> None:
    runs = await asyncio.gather(*(migrate(owner_url, service_url, folder) for _ in range(4)))
    (folder / "0003_shades.sql").write_text("CREATE TABLE shades ();")
    later = await migrate(owner_url, service_url, folder)

    assert sorted(runs) == [[], [], [], FILES]
    assert later == ["0003_shades.sql"]
    assert len(await fetch(owner_url, "SELECT * FROM bulbs")) == 1


async def test_a_file_that_fails_leaves_nothing_behind(owner_url: str, service_url: str, folder: Path) -> None:
    (folder / FILES[1]).write_text("CREATE TABLE bulbs (); CREATE TABLE lamps ();")
    with pytest.raises(asyncpg.DuplicateTableError):
        await migrate(owner_url, service_url, folder)
    (folder / FILES[0]).write_text("CREATE TABLE lamps ();")
    with pytest.raises(MigrationError, match=r"0001_lamps\.sql: was changed"):
        await migrate(owner_url, service_url, folder)

    assert await tables(owner_url) == ["lamps", "schema_migrations"]


async def test_the_service_role_may_read_and_write_rows_alone(owner_url: str, service_url: str, folder: Path) -> None:
    with pytest.raises(MigrationError, match="role of its own"):
        await migrate(owner_url, owner_url, folder)
    await migrate(owner_url, service_url, folder)

    await fetch(service_url, "INSERT INTO lamps (name) VALUES ('desk')")
    await fetch(service_url, "UPDATE lamps SET name = 'floor'")
    assert await fetch(service_url, "DELETE FROM lamps RETURNING name") == [("floor",)]
    for forbidden in (
        "CREATE TABLE mine ()",
        "ALTER TABLE lamps ADD COLUMN mine int",
        "DROP TABLE lamps",
        "TRUNCATE lamps",
        "SELECT * FROM schema_migrations",
        "CREATE ROLE mine",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await fetch(service_url, forbidden)


async def test_it_waits_until_a_server_is_up(servers: Servers, owner_url: str, service_url: str, folder: Path) -> None:
    async with stopped(servers.postgres):
        run = asyncio.create_task(migrate(owner_url, service_url, folder))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(run), 0.3)

    assert await run == FILES
