import secrets
from typing import Any

from tests.api import Api
from tests.e2e.system import System
from tests.traces import traceparent
from tests.waiting import eventually, reaches

STOCK = 1_000


async def done_order(api: Api) -> tuple[int, int]:
    """The ids of a new product, and of an order of three pieces that is done."""
    product_id = int((await api.post("/products", {"name": "Lamp", "price": "1.00", "qty": STOCK})).data["id"])
    order_id = int((await api.post("/orders", {"productId": product_id, "quantity": 3})).data["id"])
    assert (await api.data(f"/orders/{order_id}?wait=10"))["status"] == "done"
    return product_id, order_id


async def cancel(api: Api, order_id: int, **options: Any) -> None:
    answer = await api.post(f"/orders/{order_id}/cancel", None, **options)
    assert answer.data["status"] == "cancelled"


async def assert_the_stock_comes_back_once(system: System, product_id: int) -> None:
    moved = [("initial", STOCK), ("reserve", -3), ("release", 3)]
    movements = "SELECT kind, delta FROM stock_movements WHERE product_id = $1 ORDER BY id"
    await reaches(lambda: system.products(movements, product_id), moved)
    assert await system.products("SELECT qty FROM products WHERE id = $1", product_id) == [(STOCK,)]


async def test_a_cancelled_order_gives_its_stock_back_and_all_logs_have_its_trace(api: Api, system: System) -> None:
    product_id, order_id = await done_order(api)
    trace_id = secrets.token_hex(16)

    await cancel(api, order_id, headers={"traceparent": traceparent(trace_id)})
    await assert_the_stock_comes_back_once(system, product_id)
    await eventually(lambda: any(system.lines_of_trace("products", trace_id)))

    history = await api.data(f"/orders/{order_id}/history")
    assert [entry["status"] for entry in history] == ["pending", "done", "cancelled"]
    assert history[-1]["traceId"] == trace_id
    logged = {name: [line["event"] for line in system.lines_of_trace(name, trace_id)] for name in system.services}
    assert logged == {"gateway": ["request"], "orders": ["request"], "products": ["batch handled"]}


async def test_stock_that_products_gave_back_when_it_was_killed_comes_back_once(api: Api, system: System) -> None:
    product_id, order_id = await done_order(api)

    async with system.locked("product", product_id):
        await cancel(api, order_id)
        await eventually(lambda: system.waits_for_a_lock("products"))
        await system.kill("products")
        await system.give_up_waiting("products")
    await system.start()

    await assert_the_stock_comes_back_once(system, product_id)
