import asyncio
import re
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from ops.migrate import MIGRATIONS, migrate
from ops.sql_files import MigrationError, Mode, read
from tests.api import port_of
from tests.databases import Databases, Service, as_admin, fetch, owner
from tests.integration.outages import stopped
from tests.waiting import eventually
from tools.stack.servers import Servers

FILES = ["0001_lamps.sql", "0002_bulbs.sql"]
GRANTS = {
    "lamps": "SELECT, INSERT",
    "bulbs": "SELECT, UPDATE (watt)",
    "shades": "SELECT",
    "schema_migrations": "SELECT",
}

# Columns of indexes that are ordered by the collation of the database.
OF_THE_LOCALE = """
SELECT DISTINCT attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid AND relkind = 'i'
WHERE relnamespace = 'public'::regnamespace AND attcollation = '"default"'::regcollation
"""
# Fails where no unique index is there to decide about the key.
CLAIM = {
    "products": "EXPLAIN INSERT INTO idempotency_keys (key) VALUES ('a') ON CONFLICT (key) DO NOTHING",
    "orders": """
        EXPLAIN INSERT INTO orders (idempotency_key) VALUES ('a')
        ON CONFLICT (idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    """,
}
# What an interrupted CREATE INDEX CONCURRENTLY leaves.
BUILT = re.compile(r"CREATE .*CONCURRENTLY (?:IF NOT EXISTS )?(\w+)")
UNFINISHED = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{}'::regclass"
SCHEMA = """
SELECT pg_get_indexdef(indexrelid), indisvalid::text FROM pg_index WHERE indrelid IN (
    SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname <> 'schema_migrations'
)
UNION ALL
SELECT conrelid::regclass || ' ' || conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'schema_migrations'
UNION ALL
SELECT table_name || ' ' || column_name, data_type || ' ' || coalesce(collation_name, '') || ' ' || is_nullable
FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'schema_migrations'
"""


@pytest.fixture
def service_url(owner_url: str) -> str:
    """The URL of a role that `migrate` makes."""
    return urlsplit(owner_url)._replace(netloc=f"a-service:p%40ss@127.0.0.1:{port_of(owner_url)}").geturl()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / FILES[0]).write_text("CREATE TABLE lamps (id bigint GENERATED ALWAYS AS IDENTITY, name text);")
    (tmp_path / FILES[1]).write_text("CREATE TABLE bulbs (watt int); INSERT INTO bulbs VALUES (60);")
    return tmp_path


async def tables(url: str) -> list[str]:
    rows = await fetch(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    return [name for (name,) in rows]


async def refuses(url: str, *statements: str) -> None:
    """Whether the role of the URL may do none of them."""
    for statement in statements:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await fetch(url, statement)


async def applied(owner_url: str, service_url: str, folder: Path) -> list[str]:
    names, _ = await migrate(owner_url, service_url, folder, GRANTS)
    return names


@pytest.mark.parametrize(("service", "expected"), [("products", []), ("orders", [("status",)])])
async def test_a_new_collation_of_the_operating_system_cannot_put_an_index_out_of_order(
    owner_url: str, service_url: str, service: str, expected: list[tuple[str]]
) -> None:
    """Statuses are in the order of their first letters, which every locale agrees on: docs/upgrade.md."""
    await migrate(owner_url, service_url, MIGRATIONS / service, GRANTS)

    assert await fetch(owner_url, OF_THE_LOCALE) == expected


@pytest.mark.parametrize("service", ["products", "orders"])
async def test_a_migration_that_is_interrupted_anywhere_goes_on_from_there_and_a_key_stays_unique(
    databases: Databases, servers: Servers, owner_url: str, service_url: str, service: Service
) -> None:
    for migration in read(MIGRATIONS / service):
        statements = [statement.sql for statement in migration.statements()]
        claim = [CLAIM[service]] if migration.name.endswith("_keys.sql") else []
        lengths = range(1, len(statements) + 1) if migration.mode is Mode.STATEMENTS else ()
        attempts = [statements[:length] for length in lengths]
        for attempt in (*attempts, statements):
            connection = await asyncpg.connect(owner_url)
            for statement in attempt:
                for sql in (statement, *claim):
                    await connection.execute(sql)
            await connection.close()
            if attempt is not statements and (built := BUILT.match(attempt[-1])):
                await fetch(as_admin(servers.postgres, owner_url), UNFINISHED.format(built[1]))

    async with databases.fresh(service) as migrated_at_once:
        assert set(await fetch(owner_url, SCHEMA)) == set(await fetch(owner(migrated_at_once), SCHEMA))


async def test_concurrent_runs_apply_each_file_once(owner_url: str, service_url: str, folder: Path) -> None:
    runs = await asyncio.gather(*(applied(owner_url, service_url, folder) for _ in range(4)))
    (folder / "0003_shades.sql").write_text("CREATE TABLE shades ();")
    (folder / "0004_index.sql").write_text(
        "-- migrate: statement by statement\nCREATE INDEX CONCURRENTLY bulbs_watt ON bulbs (watt);"
    )
    # It waits for older snapshots, those of runs that wait for it among them.
    later = await asyncio.gather(*(applied(owner_url, service_url, folder) for _ in range(4)))

    assert sorted(runs) == [[], [], [], FILES]
    assert sorted(later) == [[], [], [], ["0003_shades.sql", "0004_index.sql"]]
    assert len(await fetch(owner_url, "SELECT * FROM bulbs")) == 1


async def test_a_file_that_fails_leaves_nothing_behind(owner_url: str, service_url: str, folder: Path) -> None:
    (folder / FILES[1]).write_text("CREATE TABLE bulbs ();\n\nCREATE TABLE lamps ();")
    with pytest.raises(MigrationError, match=r'^0002_bulbs\.sql:3: relation "lamps" already exists$'):
        await migrate(owner_url, service_url, folder, GRANTS)
    (folder / FILES[0]).write_text("CREATE TABLE lamps ();")
    with pytest.raises(MigrationError, match=r"0001_lamps\.sql: was changed"):
        await migrate(owner_url, service_url, folder, GRANTS)

    assert await tables(owner_url) == ["lamps", "schema_migrations"]


async def test_the_service_role_may_do_what_it_was_granted(owner_url: str, service_url: str, folder: Path) -> None:
    with pytest.raises(MigrationError, match="role of its own"):
        await migrate(owner_url, owner_url, folder, GRANTS)
    await migrate(owner_url, service_url, folder, GRANTS)

    await fetch(service_url, "INSERT INTO lamps (name) VALUES ('desk')")
    await fetch(service_url, "UPDATE bulbs SET watt = 40")
    assert await fetch(service_url, "SELECT name, watt FROM lamps, bulbs") == [("desk", 40)]
    await refuses(
        service_url,
        *("UPDATE lamps SET name = 'floor'", "DELETE FROM lamps", "INSERT INTO bulbs VALUES (1)", "DELETE FROM bulbs"),
        *("CREATE TABLE mine ()", "CREATE TEMPORARY TABLE mine ()", "ALTER TABLE lamps ADD COLUMN mine int"),
        *("DROP TABLE lamps", "TRUNCATE lamps", "DELETE FROM schema_migrations", "CREATE ROLE mine"),
    )


async def test_each_run_takes_away_what_an_older_release_granted_and_leaves_a_newer_ones_tables(
    owner_url: str, service_url: str, folder: Path
) -> None:
    await migrate(owner_url, service_url, folder, GRANTS)
    more = 'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "a-service"'
    for statement in ("CREATE TABLE newer ()", more, 'GRANT UPDATE (name) ON lamps TO "a-service"'):
        await fetch(owner_url, statement)
    assert await fetch(service_url, "DELETE FROM bulbs RETURNING watt") == [(60,)]

    await migrate(owner_url, service_url, folder, GRANTS)

    await refuses(service_url, "UPDATE lamps SET name = 'x'", "DELETE FROM bulbs", "DELETE FROM schema_migrations")
    await fetch(service_url, "DELETE FROM newer")


async def test_a_database_lets_in_the_roles_that_it_knows(owner_url: str, service_url: str, folder: Path) -> None:
    operator_url, stranger_url = (service_url.replace("a-service", role) for role in ("an-operator", "a-stranger"))
    await fetch(owner_url, "CREATE ROLE \"a-stranger\" LOGIN PASSWORD 'p@ss'")
    assert await fetch(stranger_url, "SELECT 1") == [(1,)]
    await migrate(owner_url, service_url, folder, GRANTS, operator_url=operator_url)

    await refuses(stranger_url, "SELECT 1")
    for url in (service_url, operator_url):
        assert await fetch(url, "SELECT watt FROM bulbs") == [(60,)]
    # A role that an operator has made, and that has the password, gets in too.
    await migrate(owner_url, stranger_url, folder, GRANTS)
    assert await fetch(stranger_url, "SELECT watt FROM bulbs") == [(60,)]


async def test_the_operators_role_writes_rows_too(owner_url: str, service_url: str, folder: Path) -> None:
    operator_url = service_url.replace("a-service", "an-operator")
    with pytest.raises(MigrationError, match="OPERATOR_DATABASE_URL names the owner"):
        await migrate(owner_url, service_url, folder, GRANTS, operator_url=owner_url)
    await migrate(owner_url, service_url, folder, GRANTS, operator_url=operator_url)

    assert await fetch(operator_url, "INSERT INTO lamps (name) VALUES ('desk') RETURNING id") == [(1,)]
    assert await fetch(operator_url, "UPDATE lamps SET name = 'floor' RETURNING name") == [("floor",)]
    assert await fetch(operator_url, "DELETE FROM lamps RETURNING name") == [("floor",)]
    await refuses(operator_url, "DELETE FROM schema_migrations", "TRUNCATE lamps", "CREATE TABLE mine ()")


_SETTINGS = """
SELECT current_setting('jit'), current_setting('idle_in_transaction_session_timeout'), current_setting('lock_timeout')
"""


async def test_the_roles_have_their_settings_and_keep_what_somebody_has_set(
    owner_url: str, service_url: str, folder: Path, servers: Servers
) -> None:
    operator_url = service_url.replace("a-service", "an-operator")
    await migrate(owner_url, service_url, folder, GRANTS, operator_url=operator_url)
    assert await fetch(service_url, _SETTINGS) == [("off", "30s", "1s")]
    assert (await fetch(operator_url, _SETTINGS))[0][1:] == ("1min", "5s")

    # As in a database that a release before has migrated, but for what somebody has made of it.
    await fetch(owner_url, 'ALTER ROLE "a-service" RESET ALL')
    await fetch(owner_url, "ALTER ROLE \"a-service\" SET lock_timeout = '9s'")
    await fetch(servers.postgres.admin_url, "ALTER ROLE owner NOCREATEROLE")
    with pytest.raises(MigrationError, match=r"^DATABASE_URL: .* SET jit = 'off'; ALTER ROLE \S+ SET idle_in_"):
        await migrate(owner_url, service_url, folder, GRANTS)
    await fetch(servers.postgres.admin_url, "ALTER ROLE owner CREATEROLE")
    await migrate(owner_url, service_url, folder, GRANTS)
    assert await fetch(service_url, _SETTINGS) == [("off", "30s", "9s")]


async def test_it_waits_until_a_server_is_up(servers: Servers, owner_url: str, service_url: str, folder: Path) -> None:
    async with stopped(servers.postgres):
        run = asyncio.create_task(applied(owner_url, service_url, folder))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(run), 0.3)

    assert await run == FILES


async def test_a_schema_of_a_newer_release_is_left_as_it_is_and_named(
    owner_url: str, service_url: str, folder: Path
) -> None:
    await migrate(owner_url, service_url, folder, GRANTS)
    (folder / FILES[1]).unlink()

    done = await migrate(owner_url, service_url, folder, GRANTS)

    assert done == ([], [FILES[1]])


async def test_a_migration_that_waits_for_a_lock_lets_others_go_on_and_tries_again(
    owner_url: str, service_url: str, folder: Path
) -> None:
    await migrate(owner_url, service_url, folder, GRANTS)
    (folder / "0003_shades.sql").write_text("ALTER TABLE bulbs ADD COLUMN shade text;")
    notes: list[str] = []
    reader = await asyncpg.connect(owner_url)
    try:
        await reader.execute("BEGIN; SELECT * FROM bulbs")
        run = asyncio.create_task(migrate(owner_url, service_url, folder, GRANTS, notes.append))
        await eventually(lambda: notes)
        # Nothing queues behind a migration that only waits for its next try.
        assert await asyncio.wait_for(fetch(service_url, "SELECT watt FROM bulbs"), 2.0) == [(60,)]
        assert not run.done()
    finally:
        await reader.close()

    assert await run == (["0003_shades.sql"], [])
    assert set(notes) == {"0003_shades.sql: another transaction holds a lock; tries again"}


async def test_a_file_may_run_outside_a_transaction(owner_url: str, service_url: str, folder: Path) -> None:
    (folder / "0003_index.sql").write_text(
        "-- migrate: statement by statement\n"
        "DROP INDEX CONCURRENTLY IF EXISTS bulbs_watt;\nCREATE INDEX CONCURRENTLY bulbs_watt ON bulbs (watt);"
    )

    assert await applied(owner_url, service_url, folder) == [*FILES, "0003_index.sql"]
    assert await fetch(owner_url, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'bulbs_watt'::regclass") == [
        (True,)
    ]


async def test_a_file_may_change_many_rows_in_batches_and_says_how_far_it_is(
    owner_url: str, service_url: str, folder: Path
) -> None:
    (folder / "0003_more.sql").write_text("INSERT INTO bulbs SELECT 40 FROM generate_series(1, 249);")
    (folder / "0004_watts.sql").write_text(
        "-- migrate: in batches\n"
        "UPDATE bulbs SET watt = 9 WHERE ctid IN (SELECT ctid FROM bulbs WHERE watt <> 9 LIMIT 100);"
    )
    notes: list[str] = []

    await migrate(owner_url, service_url, folder, GRANTS, notes.append)

    assert notes == [f"0004_watts.sql: {rows} rows" for rows in (100, 200, 250)]
    assert await fetch(owner_url, "SELECT DISTINCT watt FROM bulbs") == [(9,)]


async def test_the_password_of_a_role_is_in_no_statement_and_one_that_fits_is_left_alone(
    owner_url: str, service_url: str, folder: Path, servers: Servers, servers_folder: Path
) -> None:
    await fetch(servers.postgres.admin_url, "ALTER ROLE owner SET log_statement = 'all'")
    stored = "SELECT rolpassword FROM pg_authid WHERE rolname = 'a-service'"

    await migrate(owner_url, service_url, folder, GRANTS)
    first = await fetch(servers.postgres.admin_url, stored)
    await migrate(owner_url, service_url, folder, GRANTS)
    second = await fetch(servers.postgres.admin_url, stored)
    other_url = service_url.replace("p%40ss", "%EF%AC%81%C2%A0%C3%A9")  # letters that SASLprep replaces
    await migrate(owner_url, other_url, folder, GRANTS)

    assert first == second
    assert await fetch(other_url, "SELECT watt FROM bulbs") == [(60,)]
    log = (servers_folder / "log" / "postgresql.log").read_text()
    assert 'ROLE "a-service" LOGIN PASSWORD \'SCRAM-SHA-256' in log
    assert "p@ss" not in log
