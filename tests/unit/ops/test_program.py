"""The command line of `python -m ops`: what is accepted, and which settings each command needs."""

from datetime import date
from pathlib import Path

import pytest

from ops.__main__ import main, parse
from shared.settings import SettingsError

ID = "0123456789abcdef"
NEEDED = {
    "dead-letters list": ["AMQP_URL"],
    "broker": ["BROKER_ADMIN_URL", "PRODUCTS_AMQP_URL", "ORDERS_AMQP_URL", "AMQP_URL"],
    "reconcile": ["PRODUCTS_DATABASE_URL", "ORDERS_DATABASE_URL"],
    "repair --apply": ["PRODUCTS_DATABASE_URL", "ORDERS_DATABASE_URL"],
    "outbox": ["PRODUCTS_DATABASE_URL", "ORDERS_DATABASE_URL"],
    "archive --before 2026-03-01": ["PRODUCTS_DATABASE_URL", "ORDERS_DATABASE_URL"],
    "outbox drop --all": ["PRODUCTS_DATABASE_URL", "ORDERS_DATABASE_URL"],
    "migrate orders": ["DATABASE_OWNER_URL", "DATABASE_URL"],
}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("dead-letters list", {"action": "list", "limit": 100, "queue": None, "json": False}),
        ("dead-letters list --limit 1 --json", {"limit": 1, "json": True}),
        ("dead-letters list --limit 10000 --queue orders.stock", {"limit": 10_000, "queue": "orders.stock"}),
        (f"dead-letters show {ID}", {"ids": [ID]}),
        (f"dead-letters replay {ID} {ID}", {"ids": [ID, ID], "all": False}),
        ("dead-letters drop --all", {"ids": [], "all": True}),
        ("outbox --json", {"action": None, "json": True}),
        ("outbox list --limit 1 --json", {"action": "list", "limit": 1, "json": True}),
        ("outbox retry orders/1 products/2", {"action": "retry", "ids": ["orders/1", "products/2"], "all": False}),
        ("reconcile", {"older_than": 60.0, "settle": 5.0, "limit": None}),
        ("reconcile --all", {"limit": 10_000}),
        ("reconcile --older-than 0 --settle 86400", {"older_than": 0.0, "settle": 86_400.0}),
        ("repair", {"apply": False, "older_than": 60.0, "settle": 5.0, "limit": None}),
        ("repair --apply --json", {"apply": True, "json": True}),
        ("archive --before 2026-03-01", {"before": date(2026, 3, 1), "directory": Path("archive"), "dry_run": False}),
        ("archive --before 2026-03-01 --directory here --dry-run", {"directory": Path("here"), "dry_run": True}),
        ("migrate products", {"database": "products"}),
    ],
)
def test_a_command_line_is_read(command: str, expected: dict[str, object]) -> None:
    assert expected.items() <= vars(parse(command.split())).items()


@pytest.mark.parametrize(
    "command",
    [
        "",
        "dead-letters",
        "dead-letters replay",
        f"dead-letters drop --all {ID}",
        "dead-letters show",
        "dead-letters list --queue nonsense",
        "dead-letters list --limit 0",
        "dead-letters list --limit 10001",
        "dead-letters list --limit 1.5",
        "dead-letters list --limit 1_0",
        "outbox retry",
        "outbox drop --all orders/1",
        "outbox replay orders/1",
        "migrate",
        "migrate lamps",
        "migrate orders products",
        "reconcile --settle -1",
        "reconcile --settle 1_0",
        "reconcile --settle 86401",
        "reconcile --older-than nan",
        "reconcile --older-than soon",
        "archive",
        "archive --before yesterday",
    ],
)
def test_wrong_usage_is_refused(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(command.split())

    assert end.value.code == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.startswith("usage: python -m ops")) == ("", True)


@pytest.mark.parametrize(("command", "needed"), NEEDED.items())
async def test_all_wrong_settings_are_reported_at_once(command: str, needed: list[str]) -> None:
    wrong = dict.fromkeys([name for names in NEEDED.values() for name in names], "ftp://user:secret@localhost")
    options = parse(command.split())
    with pytest.raises(SettingsError) as missing:
        await options.run({}, options)
    with pytest.raises(SettingsError) as refused:
        await options.run(wrong, options)

    assert missing.value.problems == [f"{name} is not set" for name in needed]
    assert [problem.split()[0] for problem in refused.value.problems] == needed
    assert "secret" not in "".join(refused.value.problems)
