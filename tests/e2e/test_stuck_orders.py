from pathlib import Path

from tests.api import Api
from tests.broker import Vhost
from tests.e2e.replicas import orders_replica
from tests.e2e.system import System
from tests.waiting import eventually
from tools.stack.servers import Servers

QUEUE = "products.orders"


async def test_an_order_whose_event_was_lost_is_announced_again_and_done(
    api: Api, system: System, servers: Servers, tmp_path: Path
) -> None:
    default_vhost = Vhost(servers.rabbitmq, "")
    product_id = await cached_product(api, system)
    await system.services["products"].stop()

    placed = (await api.post("/orders", {"productId": product_id, "quantity": 2})).data
    await eventually(lambda: default_vhost.depth(QUEUE))
    lost = await default_vhost.take_events(QUEUE)
    await system.start()
    before = (await api.get(f"/orders/{placed['id']}?wait=1")).data
    async with orders_replica(system, tmp_path, STUCK_ORDER_SECONDS="1"):
        after = (await api.get(f"/orders/{placed['id']}?wait=20")).data

    assert [event["data"]["orderId"] for event in lost] == [placed["id"]]
    assert (before["status"], after["status"]) == ("pending", "done")
    assert after["traceId"] == placed["traceId"]
    assert (await api.get(f"/products/{product_id}")).data["qty"] == 7


async def cached_product(api: Api, system: System) -> int:
    """Of ten pieces, of which one is ordered: the order service knows it without asking."""
    created = (await api.post("/products", {"name": "Lamp", "price": "1.00", "qty": 10})).body
    # The event of its creation drops it from the cache once more.
    await eventually(lambda: any(system.lines_of_trace("orders", created["traceId"])))
    order = (await api.post("/orders", {"productId": created["data"]["id"], "quantity": 1})).data
    assert (await api.get(f"/orders/{order['id']}?wait=10")).data["status"] == "done"
    return int(created["data"]["id"])
