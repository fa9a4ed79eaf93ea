"""Clients that order without a pause while things happen to the system, and what must be true afterwards."""

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from tests.api import Api
from tests.e2e.system import System
from tests.traces import traceparent
from tests.waiting import eventually, reaches

_CLIENTS = 4
_PACE = 0.01
STOCK = 1_000_000


class Ordering:
    """Orders of one product, of so many pieces each, every one under a trace of its own."""

    def __init__(self, api: Api, product_id: int, quantity: int) -> None:
        self.product_id = product_id
        self._content = {"productId": product_id, "quantity": quantity}
        self.accepted: dict[str, int] = {}
        self.refused: Counter[str] = Counter()
        self._api = api
        self._goes_on = True

    def stop(self) -> None:
        """No further request begins."""
        self._goes_on = False

    async def run(self) -> None:
        while self._goes_on:
            await self._order()
            await asyncio.sleep(_PACE)

    async def accepts(self, more: int) -> None:
        """Waits until so many more orders were accepted; a failure shows what was answered instead."""
        enough = len(self.accepted) + more
        await reaches(lambda: None if len(self.accepted) >= enough else self.refused, None, within=30)

    async def _order(self) -> None:
        trace_id = secrets.token_hex(16)
        headers = {"traceparent": traceparent(trace_id)}
        try:
            answer = await self._api.post("/orders", self._content, headers=headers)
        except aiohttp.ClientError as error:
            self.refused[type(error).__name__] += 1
            return
        if answer.status == 201:
            self.accepted[trace_id] = answer.data["id"]
        else:
            self.refused[f"{answer.status} {answer.code}"] += 1


@asynccontextmanager
async def ordering(api: Api, quantity: int = 1) -> AsyncIterator[Ordering]:
    """Begins with a new product; ends when the requests under way are answered."""
    product = await api.post("/products", {"name": "Lamp", "price": "1.00", "qty": STOCK})
    orders = Ordering(api, product.data["id"], quantity)
    async with asyncio.TaskGroup() as clients:
        for _ in range(_CLIENTS):
            clients.create_task(orders.run())
        yield orders
        orders.stop()


async def assert_nothing_was_lost_or_doubled(system: System, orders: Ordering) -> None:
    """Of what was accepted; a request that failed may have become an order too, but no more than one."""
    await eventually(lambda: system.all_are_final(orders.product_id), within=30)
    found = await system.orders("SELECT trace_id, id, status FROM orders WHERE product_id = $1", orders.product_id)
    traces = [trace_id for trace_id, _, _ in found]
    assert orders.accepted.items() <= {trace_id: order_id for trace_id, order_id, _ in found}.items()
    assert len(set(traces)) == len(traces) <= len(orders.accepted) + orders.refused.total()
    assert {status for _, _, status in found} == {"done"}
    assert await _stock(system, orders.product_id) == (STOCK - len(found),) * 2 + (len(found),)


async def _stock(system: System, product_id: int) -> tuple[int, ...]:
    """The stock, the sum of its movements, and the reservations."""
    [row] = await system.products(
        """
        SELECT qty,
               (SELECT sum(delta) FROM stock_movements WHERE product_id = $1),
               (SELECT count(*) FROM reservations WHERE product_id = $1 AND outcome = 'reserved')
        FROM products
        WHERE id = $1
        """,
        product_id,
    )
    return tuple(map(int, row))
