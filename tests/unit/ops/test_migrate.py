from dataclasses import replace
from pathlib import Path

import pytest

from ops.__main__ import parse
from ops.migrate import DATABASES, MIGRATIONS
from ops.sql_files import Migration, MigrationError, Mode, pending, read
from orders import repository as orders
from products import repository as products
from shared.settings import SettingsError

FIRST = Migration(1, "0001_orders.sql", "CREATE TABLE orders ()", Mode.TRANSACTION)
SECOND = Migration(2, "0002_outbox.sql", "CREATE TABLE outbox ()", Mode.TRANSACTION)
NEWER = Migration(3, "0003_newer.sql", "CREATE TABLE newer ()", Mode.TRANSACTION)
# Three statements, with semicolons that end none.
SQL = """-- A comment; with a semicolon.
/* another; */ CREATE TABLE "a;b" (c text DEFAULT 'it''s; text');

CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $body$ BEGIN PERFORM 1; END $body$;;
-- before the last
SELECT E'\\';',
       $$;$$
"""


def applied(*migrations: Migration) -> dict[int, tuple[str, str]]:
    return {migration.version: (migration.name, migration.checksum) for migration in migrations}


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).write_text(f"-- {name}")
    return folder


def test_a_file_is_taken_apart_into_its_statements_and_an_error_is_found_in_its_line() -> None:
    statements = replace(FIRST, sql=SQL).statements()

    assert [(statement.line, statement.sql.split()[0]) for statement in statements] == [
        (2, "CREATE"),
        (4, "CREATE"),
        (6, "SELECT"),
    ]
    assert [statements[2].line_at(position) for position in (None, "1", "14", "20")] == [6, 6, 6, 7]
    assert replace(FIRST, sql="-- nothing\n").statements() == []


@pytest.mark.parametrize("mode", Mode)
def test_the_first_line_of_a_file_says_how_it_is_applied(tmp_path: Path, mode: Mode) -> None:
    (tmp_path / "0001_orders.sql").write_text(f"-- migrate: {mode}\nSELECT 1;")
    (tmp_path / "0002_outbox.sql").write_text(f"SELECT 1;\n-- migrate: {mode}")

    assert [file.mode for file in read(tmp_path)] == [mode, Mode.TRANSACTION]


def test_an_unknown_way_to_apply_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "0001_orders.sql").write_text("-- migrate: somehow\nSELECT 1;")

    with pytest.raises(MigrationError, match=r"0001_orders\.sql:1: 'somehow' is none of in one transaction, "):
        read(tmp_path)


@pytest.mark.parametrize(
    ("files", "refused"),
    [
        ([replace(FIRST, sql=FIRST.sql + " -- changed"), SECOND], r"0001_orders\.sql: was changed"),
        ([FIRST, replace(SECOND, name="0002_events.sql")], r"0002_outbox\.sql: .* missing"),
    ],
    ids=["changed", "renamed"],
)
def test_a_file_that_is_not_as_it_was_applied_is_refused_by_name(files: list[Migration], refused: str) -> None:
    with pytest.raises(MigrationError, match=refused):
        pending(files, applied(FIRST, SECOND))


@pytest.mark.parametrize(
    ("names", "refused"),
    [
        (["0002_outbox.sql"], "0002_outbox.sql: expected"),
        (["0001_orders.sql", "0003_outbox.sql"], "0003_outbox.sql: expected"),
        (["0001_orders.sql", "0001_outbox.sql"], "0001_outbox.sql: expected"),
        (["0001-orders.sql"], "0001-orders.sql: expected"),
        (["0001_orders.sql", "1_outbox.sql"], "1_outbox.sql: expected"),
        ([], ".*: no migrations"),
    ],
    ids=["not from 1", "gap", "number twice", "other form", "too few digits", "empty"],
)
def test_a_folder_out_of_sequence_is_refused(tmp_path: Path, names: list[str], refused: str) -> None:
    with pytest.raises(MigrationError, match=f"^{refused}"):
        read(write(tmp_path, *names))


def test_every_database_of_the_project_has_its_migrations() -> None:
    assert sorted(DATABASES) == sorted(path.name for path in MIGRATIONS.iterdir())
    newest = {name: read(MIGRATIONS / name)[-1].version for name in DATABASES}
    assert newest == {"orders": orders.SCHEMA, "products": products.SCHEMA}


async def test_a_wrong_option_inside_the_url_is_a_wrong_setting() -> None:
    urls = {
        "DATABASE_OWNER_URL": "postgresql://owner:hunter2@localhost/orders?sslmode=bogus",
        "DATABASE_URL": "postgresql://orders@localhost/orders",
    }
    options = parse(["migrate", "orders"])
    with pytest.raises(SettingsError) as refusal:
        await options.run(urls, options)
    [problem] = refusal.value.problems
    assert problem.startswith("DATABASE_OWNER_URL: `sslmode` parameter must be one of: disable, ")
