import asyncio
import json
import signal
import time

import pytest

from tests.api import Api, connect
from tests.e2e.ordering import assert_nothing_was_lost_or_doubled, ordering
from tests.e2e.programs import Outcome, program
from tests.e2e.system import System
from tests.events import following
from tests.waiting import eventually, reaches
from tools.stack import ports

LAMP = {"name": "Lamp", "price": "1.00", "qty": 10}


def assert_in_order(ended: Outcome) -> None:
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert (ended.status, ended.stderr, lines[-1]["event"]) == (0, "", "stopped")
    assert [line for line in lines if line["level"] in {"error", "critical"}] == []


@pytest.mark.parametrize("name", ["products", "orders", "gateway"])
async def test_a_service_stopped_under_load_loses_nothing(api: Api, system: System, name: str) -> None:
    service = system.services[name]
    await service.stop()

    async with program(name, environment=system.environments[name]) as process:
        await eventually(service.answers, within=30)
        async with ordering(api) as orders:
            await orders.accepts(30)
            process.send_signal(signal.SIGTERM)
            ended = await process.outcome()
            await service.start()
            await orders.accepts(30)

    assert_in_order(ended)
    await assert_nothing_was_lost_or_doubled(system, orders)


@pytest.mark.parametrize("name", ["orders", "gateway"])
async def test_a_stopped_process_answers_who_waits_for_a_pending_order(api: Api, system: System, name: str) -> None:
    service = system.services[name]
    product_id = (await api.post("/products", LAMP)).data["id"]
    await service.stop()

    async with program(name, environment=system.environments[name]) as process:
        await eventually(service.answers, within=30)
        async with system.locked("product", product_id):
            order_id = (await api.post("/orders", {"productId": product_id, "quantity": 1})).data["id"]
            async with following(system.url, order_id) as stream:
                waiting = asyncio.create_task(api.get(f"/orders/{order_id}?wait=30"))
                first = await stream.event()
                for _ in range(5):  # sent in turn, so that the request that waits has arrived before the last
                    assert (await api.get(f"/orders/{order_id}")).data["status"] == "pending"
                started = time.monotonic()
                process.send_signal(signal.SIGTERM)
                answer = await waiting
                rest = await stream.rest()
            ended = await process.outcome()
            lasted = time.monotonic() - started

    assert first is not None
    assert (first[0], first[1]["status"], rest) == ("1", "pending", [])
    assert (answer.status, answer.data["status"]) == (200, "pending")
    assert_in_order(ended)
    assert lasted < 5


@pytest.mark.parametrize("name", ["products", "orders", "gateway"])
async def test_a_process_that_drains_goes_on_answering_and_sends_its_clients_elsewhere(
    system: System, name: str
) -> None:
    port = ports.choose()
    environment = system.environments[name] | {"PORT": str(port), "DRAIN_SECONDS": "60"}

    async with program(name, environment=environment) as process, connect(f"http://127.0.0.1:{port}") as api:
        await eventually(lambda: ports.listens(port), within=20)
        before = await api.get("/health/live")
        process.send_signal(signal.SIGTERM)
        await reaches(lambda: status(api), "draining")
        answers = [await api.get("/health/live") for _ in range(3)]

    assert "Connection" not in before.headers
    assert [(answer.status, answer.headers.get("Connection")) for answer in answers] == [(200, "close")] * 3


async def status(api: Api) -> str:
    return str((await api.get("/health/ready")).data["status"])
