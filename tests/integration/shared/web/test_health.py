import asyncio

import pytest
from aiohttp import web

from shared.tasks import BackgroundTasks
from shared.web import health, middleware
from shared.web.health import HEALTH, Health
from tests.api import Api, connect, serve
from tests.integration.line import Line
from tests.integration.outages import stopped
from tests.waiting import eventually
from tools.stack.servers import Servers

UP = {"database": "ok", "broker": "ok", "consumers": "ok", "cache": "ok"}


async def readiness(api: Api) -> tuple[int, str, dict[str, str]]:
    answer = await api.get("/health/ready")
    assert answer.body["statusCode"] == answer.status
    return answer.status, answer.data["status"], answer.data["checks"]


async def test_a_service_with_all_it_needs_is_ready(products_api: Api, orders_api: Api) -> None:
    expected = (200, "ready", UP)

    assert await readiness(products_api) == await readiness(orders_api) == expected


async def test_without_its_cache_a_service_is_still_ready(products_api: Api, redis_line: Line) -> None:
    redis_line.cut()

    assert await readiness(products_api) == (200, "ready", {**UP, "cache": "down"})


async def test_without_the_broker_a_service_is_still_ready(orders_api: Api, broker_line: Line) -> None:
    broker_line.cut()

    async def is_noticed() -> bool:
        return await readiness(orders_api) == (200, "ready", {**UP, "broker": "down"})

    await eventually(is_noticed)


async def test_without_its_database_a_service_is_not_ready_but_lives(orders_api: Api, servers: Servers) -> None:
    async with stopped(servers.postgres):
        not_ready = await readiness(orders_api)
        live = await orders_api.get("/health/live")

    assert not_ready == (503, "not_ready", {**UP, "database": "down"})
    assert (live.status, live.data) == (200, {"status": "live"})


class Process:
    """The health routes of a process with scripted checks."""

    def __init__(self) -> None:
        self.tasks = BackgroundTasks()
        self.health = Health(self.tasks)
        self.app = web.Application(middlewares=[middleware.trace, middleware.errors])
        self.app[HEALTH] = self.health
        self.app.add_routes(health.ROUTES)

    async def readiness(self) -> tuple[int, str, dict[str, str]]:
        async with serve(self.app) as url, connect(url) as api:
            return await readiness(api)


async def passes() -> bool:
    return True


async def hangs() -> bool:
    return await asyncio.Event().wait()


async def crashes() -> bool:
    raise LookupError


async def test_a_draining_process_is_not_ready() -> None:
    process = Process()
    process.health.draining = True

    assert await process.readiness() == (503, "draining", {})


@pytest.mark.parametrize("check", [hangs, crashes])
async def test_a_check_that_does_not_answer_has_failed(check: health.Check) -> None:
    process = Process()
    process.health.add("this", check, required=True)
    process.health.add("that", passes, required=True)

    assert await process.readiness() == (503, "not_ready", {"this": "down", "that": "ok"})


async def test_those_who_ask_at_once_share_one_report_whoever_of_them_leaves() -> None:
    process, go, asked = Process(), asyncio.Event(), list[str]()

    async def check() -> bool:
        asked.append("database")
        return await go.wait()

    process.health.add("database", check, required=True)
    asking = [asyncio.create_task(process.health.report()) for _ in range(20)]
    await eventually(lambda: asked)
    asking[0].cancel()
    await asyncio.wait(asking[:1])
    go.set()
    reports = await asyncio.gather(*asking[1:])
    once = len(asked)
    later = await process.health.report()

    assert asking[0].cancelled()
    assert reports == [(True, {"status": "ready", "checks": {"database": "ok"}})] * 19
    assert (once, len(asked), later) == (1, 2, reports[0])


async def test_a_process_whose_background_task_ended_is_not_ready() -> None:
    process = Process()
    async with process.tasks:
        await asyncio.wait({process.tasks.start("relay", crashes())})
        async with serve(process.app) as url, connect(url) as api:
            answer = await api.get("/health/ready")

    assert (answer.status, answer.data["failedTasks"]) == (503, ["relay"])


async def test_metrics_count_requests_by_route_and_not_by_path(products_api: Api) -> None:
    for product_id in range(1, 4):
        await products_api.get(f"/products/{product_id}")
    await products_api.get("/nothing/here")

    text = (await products_api.get("/metrics")).raw.decode()
    assert 'route="/products/{id}",status="404"' in text
    assert 'method="(any)",route="(none)",status="404"' in text
    assert "/products/1" not in text
    assert "/nothing" not in text
