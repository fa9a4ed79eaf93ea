"""A database that refuses for whatever reason: clients are asked to come back, events are held, none is buried."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.api import Api
from tests.broker import Vhost
from tests.databases import fetch
from tests.integration.services.verdicts import ORDER, verdict
from tests.waiting import eventually
from tools.stack.servers import Servers

_END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
_CLOSE = "ALTER DATABASE {name} ALLOW_CONNECTIONS false"
_OPEN = "ALTER DATABASE {name} ALLOW_CONNECTIONS true"
# What breaks it and what mends it, at the server. New sessions have the settings of their role.
FAULTS = {
    "no connections": ([_CLOSE, _END_SESSIONS], [_OPEN]),
    "another name": (
        [_CLOSE, _END_SESSIONS, "ALTER DATABASE {name} RENAME TO {name}_away"],
        ["ALTER DATABASE {name}_away RENAME TO {name}", _OPEN],
    ),
    "a role that may not sign in": (["ALTER ROLE orders NOLOGIN", _END_SESSIONS], ["ALTER ROLE orders LOGIN"]),
    "a role that may only read": (
        ["ALTER ROLE orders IN DATABASE {name} SET default_transaction_read_only = on", _END_SESSIONS],
        ["ALTER ROLE orders IN DATABASE {name} RESET default_transaction_read_only", _END_SESSIONS],
    ),
    "a lock timeout of the role, and a lock": (
        ["ALTER ROLE orders IN DATABASE {name} SET lock_timeout = '50ms'", _END_SESSIONS],
        ["ALTER ROLE orders IN DATABASE {name} RESET lock_timeout", _END_SESSIONS],
    ),
}


@asynccontextmanager
async def broken(fault: str, servers: Servers, database_url: str) -> AsyncIterator[None]:
    name = urlsplit(database_url).path[1:]
    breaks, mends = FAULTS[fault]
    async with AsyncExitStack() as stack:
        for statement in breaks:
            await fetch(servers.postgres.admin_url, statement.format(name=name))
        if "lock" in fault:
            holder = await asyncpg.connect(urlsplit(servers.postgres.admin_url)._replace(path=f"/{name}").geturl())
            stack.push_async_callback(holder.close)
            await holder.execute("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        yield
    for statement in mends:
        await fetch(servers.postgres.admin_url, statement.format(name=name))


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_refusing_database_costs_no_order_and_no_event(
    orders_api: Api, orders_database_url: str, servers: Servers, vhost: Vhost, fault: str
) -> None:
    await orders_api.post("/orders", ORDER)
    async with broken(fault, servers, orders_database_url):
        await vhost.publish_batch(verdict(1, "done"))
        refused = [await orders_api.post("/orders", ORDER) for _ in range(3)]

    assert {(answer.status, answer.code, answer.headers.get("Retry-After")) for answer in refused} == {
        (503, "unavailable", "1")
    }

    async def is_done() -> bool:
        answer = await orders_api.get("/orders/1")
        return answer.status == 200 and answer.data["status"] == "done"

    await eventually(is_done)
    assert await vhost.depth("orders.stock.dead") == 0
    assert (await orders_api.post("/orders", ORDER)).status == 201
