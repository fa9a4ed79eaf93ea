"""A database that refuses for whatever reason: clients are asked to come back, events are held, none is buried."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from products.app import create_app
from products.settings import Settings
from tests.api import Api
from tests.broker import Vhost
from tests.databases import fetch, locked
from tests.integration.conftest import is_up, running
from tests.integration.line import line_to
from tests.integration.services.conftest import Start
from tests.integration.services.stock import cancelled, created, left, outcomes, product
from tests.integration.services.verdicts import ORDER, becomes, status_of, verdict
from tests.waiting import eventually, reaches
from tools.stack.servers import Servers

_END_SESSIONS = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'"  # and waits
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
    "a statement timeout of the role, and a locked table": (
        ["ALTER ROLE orders IN DATABASE {name} SET statement_timeout = '50ms'", _END_SESSIONS],
        ["ALTER ROLE orders IN DATABASE {name} RESET statement_timeout", _END_SESSIONS],
    ),
    "a locked table": ([], []),
}


@asynccontextmanager
async def broken(fault: str, servers: Servers, database_url: str) -> AsyncIterator[None]:
    name = urlsplit(database_url).path[1:]
    breaks, mends = FAULTS[fault]
    async with AsyncExitStack() as stack:
        for statement in breaks:
            await fetch(servers.postgres.admin_url, statement.format(name=name))
        if "lock" in fault:
            await stack.enter_async_context(locked(database_url, "LOCK TABLE orders IN ACCESS EXCLUSIVE MODE"))
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


async def test_a_locked_product_holds_up_its_own_orders_alone(
    products_api: Api, products_database_url: str, vhost: Vhost
) -> None:
    blocked, free = [await product(products_database_url, qty=10) for _ in range(2)]
    async with locked(products_database_url, f"SELECT FROM products WHERE id = {blocked} FOR UPDATE"):
        await vhost.publish_batch(*(created([blocked, free, 404][n % 3], n, 1) for n in range(1, 10)))
        await vhost.publish_batch(cancelled(blocked, 3, 1))
        await reaches(lambda: left(products_database_url, free), 7)
        assert await outcomes(products_database_url) == {
            **dict.fromkeys((1, 4, 7), "reserved"),
            **dict.fromkeys((2, 5, 8), "rejected"),
        }
        async with asyncio.timeout(0.9):  # the lock, once known, is waited for no more
            await vhost.publish_batch(created(free, 10, 1), created(blocked, 11, 1))
            await reaches(lambda: left(products_database_url, free), 6)
        adjusted = await products_api.post(f"/products/{blocked}/stock", {"delta": 1, "reason": "counted"})
        health = await products_api.get("/health/ready")
        assert (health.status, health.data["checks"]["consumers"]) == (200, "down")
        assert (await products_api.get(f"/products/{blocked}")).data["qty"] == 10

    assert (adjusted.status, adjusted.headers["Retry-After"]) == (503, "1")
    decided = {n: "rejected" if n in {2, 5, 8} else "released" if n == 3 else "reserved" for n in range(1, 12)}
    await reaches(lambda: outcomes(products_database_url), decided)
    assert await left(products_database_url, blocked) == 7
    assert await vhost.depth("products.orders.dead") == 0


async def test_a_locked_order_holds_up_its_own_verdict_alone(
    orders_api: Api, orders_database_url: str, vhost: Vhost
) -> None:
    for _ in range(4):
        await orders_api.post("/orders", ORDER)
    async with locked(orders_database_url, "SELECT FROM orders WHERE id IN (1, 3) FOR UPDATE"):
        await vhost.publish_batch(*(verdict(n, "done") for n in (1, 2, 3)))
        await becomes(orders_api, 2, "done")
        async with asyncio.timeout(0.9):  # the lock, once known, is waited for no more
            await vhost.publish_batch(verdict(1, "rejected"), verdict(4, "done"))
            await becomes(orders_api, 4, "done")
        cancelled = await orders_api.request("POST", "/orders/1/cancel")
        assert [await status_of(orders_api, n) for n in (1, 3)] == ["pending"] * 2

    assert (cancelled.status, cancelled.headers["Retry-After"]) == (503, "1")
    await becomes(orders_api, 3, "done")
    await eventually(lambda: is_final(orders_api, 1))
    assert await vhost.depth("orders.stock.dead") == 0


async def is_final(api: Api, order_id: int) -> bool:
    """Either of the two verdicts may be the first."""
    return await status_of(api, order_id) != "pending"


async def failing(api: Api) -> set[str]:
    checks = (await api.get("/health/ready")).data["checks"]
    return {name for name in checks if checks[name] == "down"}


async def test_a_replica_that_does_not_reach_its_database_leaves_the_events_to_the_others(
    products_settings: Settings, products_database_url: str, servers: Servers, vhost: Vhost, start_products: Start
) -> None:
    product_id = await product(products_database_url, qty=1000)
    async with line_to(servers.postgres.port) as line:
        url = products_database_url.replace(f":{servers.postgres.port}/", f":{line.port}/")
        async with running(create_app(replace(products_settings, database_url=url))) as lost:
            line.cut()
            for n in range(1, 101):
                await vhost.publish_batch(created(product_id, n, 1))
            await reaches(lambda: vhost.depth("products.orders"), 0)
            async with start_products():
                await reaches(lambda: left(products_database_url, product_id), 900)
            await vhost.publish_batch(created(product_id, 101, 1))
            await reaches(lambda: failing(lost), {"database", "schema", "consumers"})
            line.restore()
            await reaches(lambda: left(products_database_url, product_id), 899)
            await eventually(lambda: is_up(lost))
    assert (await vhost.depth("products.orders"), await vhost.depth("products.orders.dead")) == (0, 0)
