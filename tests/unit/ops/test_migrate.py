from pathlib import Path

import pytest

from ops.__main__ import main, parse, run
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


def test_on_an_empty_database_everything_is_pending() -> None:
    assert pending([FIRST, SECOND], {}) == [FIRST, SECOND]


def test_only_what_was_not_applied_is_pending() -> None:
    assert pending([FIRST, SECOND], applied(FIRST)) == [SECOND]
    assert pending([FIRST, SECOND], applied(FIRST, SECOND)) == []


def test_a_file_that_was_changed_afterwards_is_refused_by_name() -> None:
    changed = Migration(1, FIRST.name, FIRST.sql + " -- changed")
    with pytest.raises(MigrationError, match=r"0001_orders\.sql: was changed"):
        pending([changed, SECOND], applied(FIRST))


def test_a_file_that_is_missing_is_refused_by_name() -> None:
    with pytest.raises(MigrationError, match=r"0002_outbox\.sql: .* missing"):
        pending([FIRST], applied(FIRST, SECOND))


def test_a_file_that_was_renamed_is_missing() -> None:
    renamed = Migration(2, "0002_events.sql", SECOND.sql)
    with pytest.raises(MigrationError, match=r"0002_outbox\.sql: .* missing"):
        pending([FIRST, renamed], applied(FIRST, SECOND))


def test_files_are_read_in_order(tmp_path: Path) -> None:
    folder = write(tmp_path, "0002_outbox.sql", "0001_orders.sql", "0003_more_2.sql")
    expected = [
        Migration(1, "0001_orders.sql", "-- 0001_orders.sql"),
        Migration(2, "0002_outbox.sql", "-- 0002_outbox.sql"),
        Migration(3, "0003_more_2.sql", "-- 0003_more_2.sql"),
    ]
    assert expected == read(folder)


@pytest.mark.parametrize(
    ("names", "refused"),
    [
        (["0002_outbox.sql"], "0002_outbox.sql"),
        (["0001_orders.sql", "0003_outbox.sql"], "0003_outbox.sql"),
        (["0001_orders.sql", "0001_outbox.sql"], "0001_outbox.sql"),
        (["0001-orders.sql"], "0001-orders.sql"),
        (["0001_orders.sql", "1_outbox.sql"], "1_outbox.sql"),
    ],
    ids=["not from 1", "gap", "number twice", "other form", "too few digits"],
)
def test_a_folder_out_of_sequence_is_refused(tmp_path: Path, names: list[str], refused: str) -> None:
    with pytest.raises(MigrationError, match=f"^{refused}: expected"):
        read(write(tmp_path, *names))


def test_a_folder_without_migrations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="no migrations"):
        read(tmp_path)


def test_every_database_of_the_project_has_its_migrations() -> None:
    assert sorted(DATABASES) == sorted(path.name for path in MIGRATIONS.iterdir())
    assert all(read(MIGRATIONS / name) for name in DATABASES)


@pytest.mark.parametrize("arguments", [[], ["customers"], ["orders", "products"]])
def test_wrong_usage_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["migrate", *arguments])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("usage: python -m ops ")


async def test_wrong_settings_are_reported_all_at_once() -> None:
    with pytest.raises(SettingsError) as refusal:
        await run(parse(["migrate", "orders"]), {"DATABASE_URL": "mysql://user:hunter2@localhost"})
    assert refusal.value.problems == [
        "DATABASE_OWNER_URL is not set",
        "DATABASE_URL must be a URL that starts with postgresql:// or postgres://",
    ]


async def test_a_wrong_option_inside_the_url_is_a_wrong_setting() -> None:
    urls = {
        "DATABASE_OWNER_URL": "postgresql://owner:hunter2@localhost/orders?sslmode=bogus",
        "DATABASE_URL": "postgresql://orders@localhost/orders",
    }
    with pytest.raises(SettingsError) as refusal:
        await run(parse(["migrate", "orders"]), urls)
    [problem] = refusal.value.problems
    assert problem.startswith("DATABASE_OWNER_URL: `sslmode` parameter must be one of: disable, ")
