"""`python -m ops` as a process: its exit status, and what goes to stdout and stderr."""

import json

import pytest

from ops.__main__ import parse
from ops.errors import OpsError
from tests.broker import Vhost
from tests.databases import fetch
from tests.e2e.programs import Outcome, run

# No server listens there.
DEAD = {
    "AMQP_URL": "amqp://user:secret@127.0.0.1:9/",
    "PRODUCTS_AMQP_URL": "amqp://products:secret@127.0.0.1:9/",
    "ORDERS_AMQP_URL": "amqp://orders:secret@127.0.0.1:9/",
    "BROKER_ADMIN_URL": "http://guest:secret@127.0.0.1:9",
    "PRODUCTS_DATABASE_URL": "postgresql://user:secret@127.0.0.1:9/products",
    "ORDERS_DATABASE_URL": "postgresql://user:secret@127.0.0.1:9/orders",
}


async def ops(command: str, **environment: str) -> Outcome:
    return await run("ops", *command.split(), environment=environment)


async def test_wrong_settings_end_the_program_with_status_2() -> None:
    ended = await ops("migrate orders")

    assert (ended.status, ended.stdout) == (2, "")
    expected = ["ops: the settings are wrong", "  DATABASE_OWNER_URL is not set", "  DATABASE_URL is not set"]
    assert ended.stderr.splitlines() == expected


@pytest.mark.parametrize(
    ("command", "server"),
    [
        ("dead-letters list", "the broker"),
        ("broker", "the broker's management"),
        ("reconcile", "orders-db"),
        ("repair", "orders-db"),
        ("outbox", "products-db"),
        ("archive --before 2026-03-01", "orders-db"),
    ],
)
async def test_a_server_that_is_down_is_one_clear_line(command: str, server: str) -> None:
    options = parse(command.split())
    with pytest.raises(OpsError, match=rf"^{server}.*127\.0\.0\.1") as refusal:
        await options.run(DEAD, options)

    [line] = str(refusal.value).splitlines()
    assert "secret" not in line


async def test_a_command_that_fails_ends_with_status_1_and_the_reason_on_stderr() -> None:
    ended = await ops("outbox --json", **DEAD)

    assert (ended.status, ended.stdout) == (1, "")
    [line] = ended.stderr.splitlines()
    assert line.startswith("outbox: products-db: ")


async def test_json_is_one_document(vhost: Vhost, products_database_url: str, orders_database_url: str) -> None:
    await vhost.declare()
    urls = {"PRODUCTS_DATABASE_URL": products_database_url, "ORDERS_DATABASE_URL": orders_database_url}
    await fetch(orders_database_url, "INSERT INTO order_history (order_id, status) VALUES (1, 'done')")

    listed = await ops("dead-letters list --json", AMQP_URL=vhost.url)
    unknown = await ops("dead-letters drop 0123456789abcdef --json", AMQP_URL=vhost.url)
    compared = await ops("reconcile --settle 0", **urls)

    assert (listed.status, unknown.status, compared.status) == (0, 1, 1)
    assert json.loads(listed.stdout)["deadLetters"] == []
    assert json.loads(unknown.stdout) == {"dropped": [], "unknown": ["0123456789abcdef"]}
    assert compared.stdout.splitlines()[-1] == "differences: 1, unfinished orders: 0"
    assert {ended.stderr for ended in (listed, unknown, compared)} == {""}
