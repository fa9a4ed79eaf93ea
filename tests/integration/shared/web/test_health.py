"""Which of its servers a service needs in order to be ready; the rules of a report are in the unit tests."""

import pytest

from orders.repository import SCHEMA
from tests.api import Api
from tests.broker import Vhost
from tests.databases import as_admin, fetch, locked
from tests.integration.line import Line
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


async def test_a_service_whose_schema_is_too_old_is_not_ready_and_says_so(
    orders_api: Api, orders_database_url: str, servers: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await readiness(orders_api) == (200, "ready", UP)
    admin_url = as_admin(servers.postgres, orders_database_url)
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
    async with locked(orders_database_url, "SELECT FROM orders WHERE id = 1 FOR UPDATE"):
        await vhost.publish_batch(verdict(1, "done"))
        await reaches(lambda: readiness(orders_api), (200, "ready", {**UP, "consumers": "down"}))
        assert (await orders_api.get("/orders/1")).data["status"] == "pending"

    await reaches(lambda: readiness(orders_api), (200, "ready", UP))


async def test_metrics_are_in_the_format_that_is_asked_for(products_api: Api) -> None:
    prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,*/*"
    accepted = (prometheus, "application/openmetrics-text; version=x", "text/plain", "")
    found = [await products_api.get("/metrics", headers={"Accept": accept}) for accept in accepted]

    openmetrics, text = "application/openmetrics-text; version=1.0.0; charset=utf-8", "text/plain; charset=utf-8"
    assert [answer.headers["Content-Type"] for answer in found] == [openmetrics, openmetrics, text, text]
    assert [answer.raw.endswith(b"# EOF\n") for answer in found] == [True, True, False, False]
