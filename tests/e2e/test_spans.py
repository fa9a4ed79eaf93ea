"""What a collector gets of an order, and that one which hangs or is gone is nobody's trouble."""

import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, contextmanager

import pytest

from tests.api import Api
from tests.collector import Collector
from tests.e2e.ordering import assert_nothing_was_lost_or_doubled, ordering
from tests.e2e.programs import Program, program
from tests.e2e.system import System
from tests.e2e.test_shutdown import LAMP
from tests.traces import TRACE, TRACE_ID
from tests.waiting import eventually, reaches
from tools.stack import ports
from tools.stack.services import NAMES

UNSAMPLED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
# The product is in no cache.
ORDERED = """\
gateway: POST /orders
  gateway: POST
    orders: POST /orders
      orders: EVALSHA
      orders: GET
        products: GET /products/{id}
          products: EVALSHA
          products: postgresql
      orders: INSERT orders
      orders: process shop.events:orders.stock
        orders: DEL
        orders: postgresql
      orders: publish shop.events:order.created
      orders: wait shop.events:orders.stock
      products: process shop.events:products.orders
        products: DEL
        products: postgresql
      products: publish shop.events:order.updated
      products: wait shop.events:products.orders""".splitlines()
MISSING = """\
gateway: GET /products/{id}
  gateway: GET
    products: GET /products/{id}
      products: EVALSHA
      products: postgresql""".splitlines()


@asynccontextmanager
async def exporting(system: System, url: str) -> AsyncIterator[dict[str, Program]]:
    """The system's services, which export to this address."""
    await system.stop()
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    async with AsyncExitStack() as stack:
        running = {}
        for name in NAMES:
            environment = system.environments[name] | settings
            running[name] = await stack.enter_async_context(program(name, environment=environment))
        for name in NAMES:
            await eventually(system.services[name].answers, within=60)
        yield running


@contextmanager
def hanging() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:  # the kernel takes connections, and nobody answers
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def gone() -> Iterator[str]:
    yield f"http://127.0.0.1:{ports.choose()}"


@pytest.mark.timeout(180)
async def test_an_order_is_one_tree_of_all_three_services(api: Api, system: System) -> None:
    """So is a request that begins its trace, under the id that its answer names; one that is not sampled is none."""
    collector = Collector()
    async with collector.listening(), exporting(system, collector.url):
        product = await api.post("/products", LAMP, headers={"traceparent": UNSAMPLED})
        missing = await api.get("/products/2147483647")
        order = {"productId": product.data["id"], "quantity": 1}
        await api.post("/orders", order, headers=TRACE)
        await reaches(lambda: collector.tree(TRACE_ID), ORDERED, within=60)
        await reaches(lambda: collector.tree(missing.body["traceId"]), MISSING, within=60)

    assert collector.tree(UNSAMPLED.split("-")[1]) == []


@pytest.mark.timeout(180)
@pytest.mark.parametrize("unable", [hanging, gone])
async def test_a_collector_that_takes_nothing_changes_nothing(
    api: Api, system: System, unable: Callable[[], AbstractContextManager[str]]
) -> None:
    with unable() as url:
        async with exporting(system, url) as running:
            async with ordering(api) as orders:
                await orders.accepts(30)
            await assert_nothing_was_lost_or_doubled(system, orders)
            for process in running.values():
                process.send_signal(signal.SIGTERM)
            ended = [await process.outcome() for process in running.values()]  # within 20 s

    assert [(each.status, each.stderr) for each in ended] == [(0, "")] * len(NAMES)
    assert orders.refused.total() == 0
