from pathlib import Path

import pytest

from ops.__main__ import parse, run
from ops.migrate import DATABASES, MIGRATIONS, Migration, MigrationError, pending, read
from shared.settings import SettingsError

FIRST = Migration(1, "0001_orders.sql", "CREATE TABLE orders ()")
SECOND = Migration(2, "0002_outbox.sql", "CREATE TABLE outbox ()")


def applied(*migrations: Migration) -> dict[int, tuple[str, str]]:
    return {migration.version: (migration.name, migration.checksum) for migration in migrations}


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).write_text(f"-- {name}")
    return folder


@pytest.mark.parametrize(
    ("before", "expected"), [([], [FIRST, SECOND]), ([FIRST], [SECOND]), ([FIRST, SECOND], [])], ids=["0", "1", "2"]
)
def test_what_was_not_applied_is_pending(before: list[Migration], expected: list[Migration]) -> None:
    assert pending([FIRST, SECOND], applied(*before)) == expected


@pytest.mark.parametrize(
    ("files", "refused"),
    [
        ([Migration(1, FIRST.name, FIRST.sql + " -- changed"), SECOND], r"0001_orders\.sql: was changed"),
        ([FIRST], r"0002_outbox\.sql: .* missing"),
        ([FIRST, Migration(2, "0002_events.sql", SECOND.sql)], r"0002_outbox\.sql: .* missing"),
    ],
    ids=["changed", "missing", "renamed"],
)
def test_a_file_that_is_not_as_it_was_applied_is_refused_by_name(files: list[Migration], refused: str) -> None:
    with pytest.raises(MigrationError, match=refused):
        pending(files, applied(FIRST, SECOND))


def test_files_are_read_in_order(tmp_path: Path) -> None:
    folder = write(tmp_path, "0002_outbox.sql", "0001_orders.sql", "0003_more_2.sql")
    expected = [
        Migration(number, name, f"-- {name}")
        for number, name in enumerate(["0001_orders.sql", "0002_outbox.sql", "0003_more_2.sql"], 1)
    ]
    assert expected == read(folder)


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
    assert all(read(MIGRATIONS / name) for name in DATABASES)


async def test_a_wrong_option_inside_the_url_is_a_wrong_setting() -> None:
    urls = {
        "DATABASE_OWNER_URL": "postgresql://owner:hunter2@localhost/orders?sslmode=bogus",
        "DATABASE_URL": "postgresql://orders@localhost/orders",
    }
    with pytest.raises(SettingsError) as refusal:
        await run(parse(["migrate", "orders"]), urls)
    [problem] = refusal.value.problems
    assert problem.startswith("DATABASE_OWNER_URL: `sslmode` parameter must be one of: disable, ")
