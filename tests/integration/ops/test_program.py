"""`python -m ops` as a process: its exit status, and what goes to stdout and stderr."""

import json

import pytest

from tests.broker import Vhost
from tests.databases import fetch
from tests.e2e.programs import Outcome, run

# Nobody listens there.
DEAD = {
    "AMQP_URL": "amqp://user:secret@127.0.0.1:9/",
    "PRODUCTS_DATABASE_URL": "postgresql://user:secret@127.0.0.1:9/products",
    "ORDERS_DATABASE_URL": "postgresql://user:secret@127.0.0.1:9/orders",
    "DATABASE_OWNER_URL": "postgresql://owner:secret@127.0.0.1:9/orders",
    "DATABASE_URL": "postgresql://user:secret@127.0.0.1:9/orders",
}
NEEDED = {
    "dead-letters list": ["AMQP_URL"],
    "reconcile": ["PRODUCTS_DATABASE_URL", "ORDERS_DATABASE_URL"],
    "outbox": ["PRODUCTS_DATABASE_URL", "ORDERS_DATABASE_URL"],
    "migrate orders": ["DATABASE_OWNER_URL", "DATABASE_URL"],
}


async def ops(command: str, **environment: str) -> Outcome:
    return await run("ops", *command.split(), environment=environment)


@pytest.mark.parametrize(("command", "needed"), NEEDED.items())
async def test_all_wrong_settings_are_named_at_once(command: str, needed: list[str]) -> None:
    missing = await ops(command)
    wrong = await ops(command, **dict.fromkeys(DEAD, "http://user:secret@localhost"))

    assert (missing.status, missing.stdout, wrong.status, wrong.stdout) == (2, "", 2, "")
    assert missing.stderr.splitlines() == [
        "ops: the settings are wrong",
        *(f"  {name} is not set" for name in needed),
    ]
    assert [line.split()[0] for line in wrong.stderr.splitlines()[1:]] == needed
    assert "secret" not in wrong.stderr


@pytest.mark.parametrize(
    ("command", "server"),
    [("dead-letters list --json", "the broker"), ("reconcile", "orders-db"), ("outbox --json", "products-db")],
)
async def test_a_server_that_is_down_is_one_clear_line(command: str, server: str) -> None:
    ended = await ops(command, **DEAD)

    assert (ended.status, ended.stdout) == (1, "")
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"{command.split(maxsplit=1)[0]}: {server}")
    assert "127.0.0.1" in line
    assert "secret" not in line


@pytest.mark.parametrize(
    "command",
    [
        "",
        "dead-letters",
        "dead-letters replay",
        "dead-letters drop --all 0123456789abcdef",
        "dead-letters list --queue nonsense",
        "dead-letters list --limit 0",
        "migrate lamps",
        "reconcile --settle -1",
        "reconcile --older-than nan",
    ],
)
async def test_wrong_usage_is_refused(command: str) -> None:
    ended = await ops(command, **DEAD)

    assert (ended.status, ended.stdout) == (2, "")
    assert ended.stderr.startswith("usage: ")


async def test_json_is_one_document_and_the_status_says_the_rest(
    vhost: Vhost, products_database_url: str, orders_database_url: str
) -> None:
    await vhost.declare()
    urls = {"PRODUCTS_DATABASE_URL": products_database_url, "ORDERS_DATABASE_URL": orders_database_url}
    await fetch(orders_database_url, "INSERT INTO order_history (order_id, status) VALUES (1, 'pending')")

    listed = await ops("dead-letters list --json", AMQP_URL=vhost.url)
    unknown = await ops("dead-letters drop 0123456789abcdef --json", AMQP_URL=vhost.url)
    compared = await ops("reconcile --settle 0 --json", **urls)
    printed = await ops("reconcile --settle 0", **urls)

    assert (listed.status, unknown.status, compared.status, printed.status) == (0, 1, 1, 1)
    assert json.loads(listed.stdout)["deadLetters"] == []
    assert json.loads(unknown.stdout) == {"dropped": [], "unknown": ["0123456789abcdef"]}
    assert json.loads(compared.stdout)["summary"]["differences"] == 1
    assert printed.stdout.splitlines()[-1] == "differences: 1, unfinished orders: 0"
    assert {ended.stderr for ended in (listed, unknown, compared, printed)} == {""}
