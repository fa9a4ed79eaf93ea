from contextlib import AsyncExitStack

import pytest

from tests.api import Api
from tests.e2e.ordering import assert_nothing_was_lost_or_doubled, ordering
from tests.e2e.system import System
from tests.waiting import eventually


@pytest.mark.parametrize("name", ["products", "orders", "gateway"])
async def test_a_service_killed_under_load_loses_and_doubles_nothing(api: Api, system: System, name: str) -> None:
    service = system.services[name]

    async with ordering(api) as orders:
        await orders.accepts(30)
        await system.kill(name)
        await service.start()
        await orders.accepts(30)

    await assert_nothing_was_lost_or_doubled(system, orders)


async def test_orders_that_products_had_in_hand_when_it_was_killed_are_done(api: Api, system: System) -> None:
    products = system.services["products"]

    async with ordering(api) as orders:
        await orders.accepts(10)
        async with system.locked("product", orders.product_id):
            await orders.accepts(10)
            await eventually(lambda: system.waits_for_a_lock("products"))
            await system.kill("products")
            await system.give_up_waiting("products")
        await products.start()

    await assert_nothing_was_lost_or_doubled(system, orders)


async def test_a_verdict_that_orders_had_in_hand_when_it_was_killed_counts(api: Api, system: System) -> None:
    orders = system.services["orders"]
    product = (await api.post("/products", {"name": "Lamp", "price": "1.00", "qty": 1})).data

    async with AsyncExitStack() as order_lock:
        async with system.locked("product", product["id"]):
            order = (await api.post("/orders", {"productId": product["id"], "quantity": 1})).data
            await order_lock.enter_async_context(system.locked("order", order["id"]))
        await eventually(lambda: system.waits_for_a_lock("orders"))
        await system.kill("orders")
        await system.give_up_waiting("orders")

    await orders.start()
    await eventually(lambda: system.all_are_final(product["id"]))
    assert (await api.get(f"/orders/{order['id']}")).data["status"] == "done"
