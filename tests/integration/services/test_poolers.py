"""Both services behind Debian's PgBouncer, with the configuration that docs/poolers.md gives."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from ops.grants import OF_SERVICES
from ops.migrate import MIGRATIONS, migrate
from ops.sql_files import MigrationError
from orders.app import create_app as create_orders
from orders.settings import Settings as OrdersSettings
from products.app import create_app as create_products
from products.settings import Settings as ProductsSettings
from shared.db import open_database
from tests.api import connect, serve
from tests.databases import PASSWORD, fetch, owner
from tests.integration.conftest import running
from tests.integration.services.verdicts import becomes
from tools.stack import ports, programs
from tools.stack.postgres import SYSTEM_USER
from tools.stack.processes import Command, Daemon
from tools.stack.servers import Servers
from tools.stack.services import ROOT

pytestmark = pytest.mark.timeout(programs.INSTALL_SECONDS)


@dataclass(frozen=True, slots=True)
class Pooler:
    port: int
    # What the services keep of statements.
    cache_size: int

    def url(self, name: str) -> str:
        return f"postgresql://{name}:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def changes(self, name: str) -> dict[str, Any]:
        """Of the settings of a service."""
        return {"database_url": self.url(name), "statement_cache_size": self.cache_size}


# The connections of each role to the server; two are fewer than a service has to the pooler.
@pytest.fixture(params=[("transaction", 2, 0), ("session", 20, 100)], ids=["transaction", "session"])
async def pooler(
    request: pytest.FixtureRequest,
    servers: Servers,
    servers_folder: Path,
    orders_database_url: str,
    products_database_url: str,
) -> AsyncIterator[Pooler]:
    mode, size, cache_size = request.param
    await asyncio.to_thread(programs.install_missing, {"pgbouncer": "pgbouncer"})
    [text] = re.findall("```ini\n(.+?)```", (ROOT / "docs" / "poolers.md").read_text(), re.DOTALL)
    port, folder, server = ports.choose(), servers_folder / "pgbouncer", f"127.0.0.1 port={servers.postgres.port}"
    changes = {
        "order-db port=5432": f"{server} dbname={urlsplit(orders_database_url).path[1:]}",
        "product-db port=5432": f"{server} dbname={urlsplit(products_database_url).path[1:]}",
        "listen_port = 6432": f"listen_port = {port}",
        "/etc/pgbouncer/": f"{folder}/",
        "pool_mode = transaction": f"pool_mode = {mode}",
        "default_pool_size = 20": f"default_pool_size = {size}",
    }
    for words, others in changes.items():
        assert words in text
        text = text.replace(words, others)
    folder.mkdir(exist_ok=True)
    (folder / "pgbouncer.ini").write_text(text)
    names = ("orders", "products", "orders_owner")
    (folder / "userlist.txt").write_text("".join(f'"{name}" "{PASSWORD}"\n' for name in names))
    user = SYSTEM_USER if servers.postgres.data_folder.user else None
    daemon = Daemon("pgbouncer", folder, tied=True)
    daemon.start(Command((programs.require("pgbouncer"), str(folder / "pgbouncer.ini")), {}, folder, user))
    try:
        await daemon.ready(partial(ports.listens, port), 10.0)
        yield Pooler(port, cache_size)
    finally:
        await daemon.stop()


@pytest.mark.usefixtures("redis", "orders_redis")
async def test_the_services_work_behind_a_pooler(
    products_settings: ProductsSettings, orders_settings: OrdersSettings, pooler: Pooler
) -> None:
    products = create_products(replace(products_settings, **pooler.changes("products")))
    async with serve(products) as url, connect(url) as api:
        orders = replace(orders_settings, products_url=url, **pooler.changes("orders"))
        async with running(create_orders(orders)) as orders_api:
            await api.post("/products", {"name": "Lamp", "price": "19.90", "qty": 60})
            order = {"productId": 1, "quantity": 1}
            placed = await asyncio.gather(*(orders_api.post("/orders", order) for _ in range(50)))
            for number in range(1, 51):
                await becomes(orders_api, number, "done")
            read = await asyncio.gather(*(orders_api.status(f"/orders/{number}") for number in range(1, 51)))
            left = (await api.get("/products/1")).data["qty"]

    assert ({answer.status for answer in placed}, set(read), left) == ({201}, {200}, 10)


_SHOWN = """
SELECT current_setting('application_name'), current_setting('jit'), current_setting('lock_timeout'),
    current_setting('idle_in_transaction_session_timeout')
"""


async def test_sessions_behind_a_pooler_have_their_name_and_the_settings_of_their_role(pooler: Pooler) -> None:
    opening = open_database(pooler.url("orders"), "orders", pooler.cache_size)
    async with opening as database, database.connection() as connection:
        row = await connection.fetchrow(_SHOWN)

    assert row is not None
    assert tuple(row) == ("orders", "off", "1s", "30s")


async def test_a_migration_refuses_a_pooler_and_leaves_no_lock(pooler: Pooler, servers: Servers) -> None:
    url = pooler.url("orders")
    for _ in range(3):
        with pytest.raises(MigrationError, match="DATABASE_OWNER_URL leads to a pooler"):
            await migrate(owner(url), url, MIGRATIONS / "orders", OF_SERVICES["orders"])

    assert await fetch(servers.postgres.admin_url, "SELECT FROM pg_locks WHERE locktype = 'advisory'") == []
