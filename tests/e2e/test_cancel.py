import secrets
import signal
from typing import Any

from tests.api import Api
from tests.e2e.system import System
from tests.waiting import eventually

STOCK = 1_000


async def new_product(api: Api) -> int:
    return int((await api.post("/products", {"name": "Lamp", "price": "1.00", "qty": STOCK})).data["id"])


async def place(api: Api, product_id: int, quantity: int = 3) -> int:
    return int((await api.post("/orders", {"productId": product_id, "quantity": quantity})).data["id"])


async def done(api: Api, order_id: int) -> None:
    assert (await api.get(f"/orders/{order_id}?wait=10")).data["status"] == "done"


async def cancel(api: Api, order_id: int, **options: Any) -> str:
    """The status that the order has got."""
    answer = await api.post(f"/orders/{order_id}/cancel", None, **options)
    return str(answer.data["status"])


async def assert_all_stock_is_back(api: Api, system: System, product_id: int) -> None:
    """By one movement for each that took some."""
    found = await system.products("SELECT kind, delta FROM stock_movements WHERE product_id = $1", product_id)
    moved: dict[str, list[int]] = {"initial": [], "reserve": [], "release": []}
    for kind, delta in found:
        moved[kind].append(delta)
    assert (await api.get(f"/products/{product_id}")).data["qty"] == STOCK
    assert moved["initial"] == [STOCK]
    assert sorted(moved["release"]) == sorted(-delta for delta in moved["reserve"])


async def test_a_cancelled_order_gives_its_stock_back_and_all_logs_have_its_trace(api: Api, system: System) -> None:
    product_id = await new_product(api)
    order_id = await place(api, product_id)
    await done(api, order_id)
    trace_id = secrets.token_hex(16)

    assert await cancel(api, order_id, headers={"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}) == "cancelled"
    await eventually(lambda: is_back(api, product_id))
    await eventually(lambda: events(system, "products", trace_id))

    history = (await api.get(f"/orders/{order_id}/history")).data
    assert [entry["status"] for entry in history] == ["pending", "done", "cancelled"]
    assert history[-1]["traceId"] == trace_id
    logged = {name: events(system, name, trace_id) for name in system.services}
    assert logged == {"gateway": ["request"], "orders": ["request"], "products": ["batch handled"]}
    await assert_all_stock_is_back(api, system, product_id)


def events(system: System, name: str, trace_id: str) -> list[str]:
    """The events of a trace in the log of a service."""
    return [line["event"] for line in system.lines_of_trace(name, trace_id)]


async def is_back(api: Api, product_id: int) -> bool:
    return bool((await api.get(f"/products/{product_id}")).data["qty"] == STOCK)


async def test_an_order_cancelled_while_products_is_dead_gives_its_stock_back(api: Api, system: System) -> None:
    product_id = await new_product(api)
    order_id = await place(api, product_id)
    await done(api, order_id)
    await kill_products(system)

    status = await cancel(api, order_id)
    await system.start()
    await eventually(lambda: is_back(api, product_id))

    assert status == "cancelled"
    await assert_all_stock_is_back(api, system, product_id)


async def test_stock_that_products_gave_back_when_it_was_killed_comes_back_once(api: Api, system: System) -> None:
    product_id = await new_product(api)
    order_id = await place(api, product_id)
    await done(api, order_id)

    async with system.locked("product", product_id):
        await cancel(api, order_id)
        await eventually(lambda: system.waits_for_a_lock("products"))
        await kill_products(system)
        await system.give_up_waiting("products")
    await system.start()
    await eventually(lambda: is_back(api, product_id))

    await assert_all_stock_is_back(api, system, product_id)


async def kill_products(system: System) -> None:
    products = system.services["products"].daemon
    assert products.send(signal.SIGKILL)
    assert await products.ended(5)
