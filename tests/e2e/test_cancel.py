import asyncio
import secrets
import signal
from collections import Counter
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


async def reservations(system: System, product_id: int) -> Counter[str]:
    found = await system.products("SELECT outcome FROM reservations WHERE product_id = $1", product_id)
    return Counter(outcome for (outcome,) in found)


async def assert_all_stock_is_back(api: Api, system: System, product_id: int) -> None:
    """By one movement for each that took some."""
    found = await system.products("SELECT kind, delta FROM stock_movements WHERE product_id = $1", product_id)
    moved: dict[str, list[int]] = {"initial": [], "reserve": [], "release": []}
    for kind, delta in found:
        moved[kind].append(delta)
    assert (await api.get(f"/products/{product_id}")).data["qty"] == STOCK
    assert moved["initial"] == [STOCK]
    assert sorted(moved["release"]) == sorted(-delta for delta in moved["reserve"])


async def test_a_cancelled_order_gives_its_stock_back_and_says_so_in_its_history(api: Api, system: System) -> None:
    product_id = await new_product(api)
    order_id = await place(api, product_id)
    await done(api, order_id)

    assert await cancel(api, order_id) == "cancelled"
    await eventually(lambda: is_back(api, product_id))

    movements = (await api.get(f"/products/{product_id}/movements")).data
    history = (await api.get(f"/orders/{order_id}/history")).data
    assert [(movement["kind"], movement["delta"], movement["orderId"]) for movement in movements] == [
        ("release", 3, order_id),
        ("reserve", -3, order_id),
        ("initial", STOCK, None),
    ]
    assert [entry["status"] for entry in history] == ["pending", "done", "cancelled"]
    assert (await api.get(f"/orders/{order_id}")).data["status"] == "cancelled"
    await assert_all_stock_is_back(api, system, product_id)


async def is_back(api: Api, product_id: int) -> bool:
    return bool((await api.get(f"/products/{product_id}")).data["qty"] == STOCK)


async def test_whichever_comes_first_a_cancel_or_the_verdict_the_order_ends_cancelled_and_all_stock_is_back(
    api: Api, system: System
) -> None:
    product_id = await new_product(api)

    async def place_and_cancel() -> list[str]:
        return [await cancel(api, await place(api, product_id)) for _ in range(12)]

    statuses = await asyncio.gather(*(place_and_cancel() for _ in range(8)))
    await eventually(lambda: all_are_released(system, product_id, 96))

    assert {status for of_client in statuses for status in of_client} == {"cancelled"}
    assert await histories(system, product_id) <= {("pending", "cancelled"), ("pending", "done", "cancelled")}
    await assert_all_stock_is_back(api, system, product_id)


async def all_are_released(system: System, product_id: int, orders: int) -> bool:
    return await reservations(system, product_id) == {"released": orders}


async def histories(system: System, product_id: int) -> set[tuple[str, ...]]:
    """Every one that an order of the product has; `done` stands before `cancelled`."""
    found = await system.orders(
        """
        SELECT array_agg(h.status ORDER BY array_position(ARRAY['pending', 'done', 'rejected', 'cancelled'], h.status))
        FROM orders JOIN order_history AS h ON h.order_id = orders.id
        WHERE product_id = $1
        GROUP BY orders.id
        """,
        product_id,
    )
    return {tuple(statuses) for (statuses,) in found}


async def test_the_trace_of_a_cancel_leads_through_all_three_logs(api: Api, system: System) -> None:
    product_id = await new_product(api)
    order_id = await place(api, product_id)
    await done(api, order_id)
    trace_id = secrets.token_hex(16)

    await cancel(api, order_id, headers={"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"})
    await eventually(lambda: is_back(api, product_id))
    await eventually(lambda: events(system, "products", trace_id))

    assert events(system, "gateway", trace_id) == ["request"]
    assert events(system, "orders", trace_id) == ["request"]
    assert events(system, "products", trace_id) == ["batch handled"]
    assert (await api.get(f"/orders/{order_id}/history")).data[-1]["traceId"] == trace_id


def events(system: System, name: str, trace_id: str) -> list[str]:
    """What the log of a service tells of a trace."""
    return [line["event"] for line in system.lines_of_trace(name, trace_id)]


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


async def test_stock_that_products_was_giving_back_when_it_was_killed_comes_back_once(
    api: Api, system: System
) -> None:
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
