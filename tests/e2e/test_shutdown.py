import json
import signal

import pytest

from tests.api import Api
from tests.e2e.ordering import assert_nothing_was_lost_or_doubled, ordering
from tests.e2e.programs import program
from tests.e2e.system import System
from tests.waiting import eventually


@pytest.mark.parametrize("name", ["products", "orders", "gateway"])
async def test_a_service_told_to_stop_under_load_ends_in_order_and_loses_nothing(
    api: Api, system: System, name: str
) -> None:
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

    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert (ended.status, ended.stderr) == (0, "")
    assert [line for line in lines if line["level"] in {"error", "critical"}] == []
    assert lines[-1]["event"] == "stopped"
    await assert_nothing_was_lost_or_doubled(system, orders)
