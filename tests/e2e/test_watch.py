import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.api import Api
from tests.e2e.system import System
from tests.e2e.watching import watching

# Far less than a request may wait, far more than a wake-up takes.
SOON = 5.0
LAMP = {"name": "Lamp", "price": "1.00", "qty": 10}


@asynccontextmanager
async def pending_order(api: Api, system: System) -> AsyncIterator[int]:
    """An order that is decided when the context ends."""
    product_id = (await api.post("/products", LAMP)).data["id"]
    async with system.locked("product", product_id):
        yield (await api.post("/orders", {"productId": product_id, "quantity": 1})).data["id"]


async def test_a_request_that_waits_is_answered_as_soon_as_the_order_is_final(api: Api, system: System) -> None:
    async with pending_order(api, system) as order_id:
        waiting = asyncio.create_task(api.get(f"/orders/{order_id}?wait=30"))
        assert (await api.get(f"/orders/{order_id}?wait=1")).data["status"] == "pending"
        assert not waiting.done()

    async with asyncio.timeout(SOON):
        assert (await waiting).data["status"] == "done"


async def test_a_request_that_waits_is_answered_as_soon_as_the_order_is_cancelled(api: Api, system: System) -> None:
    async with pending_order(api, system) as order_id:
        waiting = asyncio.create_task(api.get(f"/orders/{order_id}?wait=30"))
        assert (await api.get(f"/orders/{order_id}")).data["status"] == "pending"
        await api.post(f"/orders/{order_id}/cancel", None)

        async with asyncio.timeout(SOON):
            assert (await waiting).data["status"] == "cancelled"


async def test_a_client_that_comes_back_gets_what_it_has_missed_and_nothing_twice(api: Api, system: System) -> None:
    async with pending_order(api, system) as order_id:
        async with watching(system.url, order_id) as first:
            told_first = await first.next()
        async with asyncio.timeout(SOON), watching(system.url, order_id, last_event_id="1") as second:
            following = asyncio.create_task(second.rest())
            assert (await api.get(f"/orders/{order_id}")).data["status"] == "pending"
            await api.post(f"/orders/{order_id}/cancel", None)
            told_then = await following
    async with watching(system.url, order_id, last_event_id="2") as third:
        told_at_last = await third.rest()

    assert told_first == ("1", "pending")
    assert told_then == [("2", "cancelled")]
    assert (third.status, told_at_last) == (204, [])


async def test_a_stream_tells_the_verdict_and_a_later_cancel_to_who_asks_again(api: Api, system: System) -> None:
    async with asyncio.timeout(SOON):
        async with pending_order(api, system) as order_id, watching(system.url, order_id) as stream:
            pending = await stream.next()
        async with watching(system.url, order_id) as stream:
            until_done = await stream.rest()
        await api.post(f"/orders/{order_id}/cancel", None)
        async with watching(system.url, order_id, last_event_id="2") as stream:
            afterwards = await stream.rest()

    assert pending == ("1", "pending")
    assert until_done == [("1", "pending"), ("2", "done")]
    assert afterwards == [("3", "cancelled")]
