"""Clients that wait for an order, through the gateway; the rules are tested at the order service."""

import asyncio

from tests.api import Api
from tests.e2e.system import System
from tests.events import following

# Far less than a request may wait, far more than a wake-up takes.
SOON = 5.0
LAMP = {"name": "Lamp", "price": "1.00", "qty": 10}


async def test_who_waits_and_who_follows_get_the_verdict_and_what_was_missed(api: Api, system: System) -> None:
    product_id = (await api.post("/products", LAMP)).data["id"]
    async with system.locked("product", product_id):
        order_id = (await api.post("/orders", {"productId": product_id, "quantity": 1})).data["id"]
        waiting = asyncio.create_task(api.get(f"/orders/{order_id}?wait=30"))
        async with following(system.url, order_id) as stream:
            pending = await stream.event()
        assert (await api.get(f"/orders/{order_id}?wait=1")).data["status"] == "pending"
        assert not waiting.done()

    async with asyncio.timeout(SOON):
        assert (await waiting).data["status"] == "done"
        async with following(system.url, order_id) as stream:
            until_done = await stream.rest()
    await api.post(f"/orders/{order_id}/cancel", None)
    async with following(system.url, order_id, "2") as stream:
        missed = await stream.rest()
    nothing = await api.get(f"/orders/{order_id}/events", headers={"Last-Event-ID": "3"})

    assert pending is not None
    assert (pending[0], pending[1]["status"]) == ("1", "pending")
    assert (until_done, missed, nothing.status) == (["1 pending", "2 done"], ["3 cancelled"], 204)
