"""A process that is told to stop while clients wait for an order that nobody decides."""

import asyncio
import json
import signal
import time

import pytest

from tests.api import Api
from tests.e2e.programs import program
from tests.e2e.system import System
from tests.e2e.watching import watching
from tests.waiting import eventually

LAMP = {"name": "Lamp", "price": "1.00", "qty": 10}


@pytest.mark.parametrize("name", ["orders", "gateway"])
async def test_who_waits_is_answered_streams_end_and_the_process_ends_in_order(
    api: Api, system: System, name: str
) -> None:
    service = system.services[name]
    product_id = (await api.post("/products", LAMP)).data["id"]
    await service.stop()

    async with program(name, environment=system.environments[name]) as process:
        await eventually(service.answers, within=30)
        async with system.locked("product", product_id):
            order_id = (await api.post("/orders", {"productId": product_id, "quantity": 1})).data["id"]
            async with watching(system.url, order_id) as stream:
                waiting = asyncio.create_task(api.get(f"/orders/{order_id}?wait=30"))
                told = [await stream.next()]
                assert (await api.get(f"/orders/{order_id}")).data["status"] == "pending"
                started = time.monotonic()
                process.send_signal(signal.SIGTERM)
                answer = await waiting
                told += await stream.rest()
            ended = await process.outcome()
            lasted = time.monotonic() - started

    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert (answer.status, answer.data["status"]) == (200, "pending")
    assert told == [("1", "pending")]
    assert (ended.status, ended.stderr, lines[-1]["event"]) == (0, "", "stopped")
    assert [line for line in lines if line["level"] in {"error", "critical"}] == []
    assert lasted < 5
