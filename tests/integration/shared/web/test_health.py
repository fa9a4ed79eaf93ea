"""Which of its servers a service needs in order to be ready; the rules of a report are in the unit tests."""

from urllib.parse import urlsplit

import asyncpg
import pytest

from orders.repository import SCHEMA
from tests.api import Api
from tests.broker import Vhost
from tests.databases import fetch
from tests.integration.line import Line
from tests.integration.outages import stopped
from tests.integration.services.verdicts import verdict
from tests.waiting import reaches
from tools.stack.servers import Servers

UP = {"database": "ok", "schema": "ok", "broker": "ok", "consumers": "ok", "cache": "ok"}


async def readiness(api: Api) -> tuple[int, str, dict[str, str]]:
    answer = await api.get("/health/ready")
    assert answer.body["statusCode"] == answer.status
    return answer.status, answer.data["status"], answer.data["checks"]


async def test_a_service_needs_no_cache_or_broker_to_be_ready(
    products_api: Api, redis_line: Line, broker_line: Line
) -> None:
    assert await readiness(products_api) == (200, "ready", UP)
    redis_line.cut()
    assert await readiness(products_api) == (200, "ready", {**UP, "cache": "down"})
    broker_line.cut()
    await reaches(lambda: readiness(products_api), (200, "ready", {**UP, "cache": "down", "broker": "down"}))


async def test_without_its_database_a_service_is_alive_but_not_ready(orders_api: Api, servers: Servers) -> None:
    assert await readiness(orders_api) == (200, "ready", UP)
    async with stopped(servers.postgres):
        not_ready = await readiness(orders_api)
        live = await orders_api.get("/health/live")

    assert not_ready == (503, "not_ready", {**UP, "database": "down", "schema": "down"})
    assert (live.status, live.data) == (200, {"status": "live"})


async def test_a_service_whose_schema_is_too_old_is_not_ready_and_says_so(
    orders_api: Api, orders_database_url: str, servers: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await readiness(orders_api) == (200, "ready", UP)
    database = urlsplit(orders_database_url).path
    admin_url = urlsplit(servers.postgres.admin_url)._replace(path=database).geturl()
    await fetch(admin_url, f"DELETE FROM schema_migrations WHERE version = {SCHEMA}")

    assert await readiness(orders_api) == (503, "not_ready", {**UP, "schema": "down"})
    assert f"The schema has version {SCHEMA - 1}, and this release needs {SCHEMA}" in capsys.readouterr().out
    await fetch(admin_url, "DROP TABLE schema_migrations")
    assert await readiness(orders_api) == (503, "not_ready", {**UP, "schema": "down"})


async def test_a_service_that_holds_events_still_answers_requests(
    orders_api: Api, orders_database_url: str, vhost: Vhost
) -> None:
    """Because somebody has locked a row and gone."""
    await fetch(
        orders_database_url,
        "INSERT INTO orders (product_id, quantity, unit_price, total_price, trace_id) VALUES (7, 1, 1, 1, 'none')",
    )
    somebody = await asyncpg.connect(orders_database_url)
    try:
        await somebody.execute("BEGIN; SELECT FROM orders WHERE id = 1 FOR UPDATE")
        await vhost.publish_batch(verdict(1, "done"))
        await reaches(lambda: readiness(orders_api), (200, "ready", {**UP, "consumers": "down"}))
        assert (await orders_api.get("/orders/1")).data["status"] == "pending"
    finally:
        await somebody.close()

    await reaches(lambda: readiness(orders_api), (200, "ready", UP))


async def test_metrics_are_in_the_format_that_is_asked_for(products_api: Api) -> None:
    prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,*/*"
    accepted = (prometheus, "application/openmetrics-text; version=x", "text/plain", "")
    found = [await products_api.get("/metrics", headers={"Accept": accept}) for accept in accepted]

    openmetrics, text = "application/openmetrics-text; version=1.0.0; charset=utf-8", "text/plain; charset=utf-8"
    assert [answer.headers["Content-Type"] for answer in found] == [openmetrics, openmetrics, text, text]
    assert [answer.raw.endswith(b"# EOF\n") for answer in found] == [True, True, False, False]
