"""What the order service does with the events it consumes."""

from collections import Counter
from collections.abc import Mapping, Sequence

from orders.domain import Verdict
from orders.products import Products
from orders.service import Orders
from shared import tracing
from shared.messaging.consumer import Received


class StockEvents:
    """The queue `orders.stock`."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders

    async def handle(self, batch: Sequence[Received]) -> Mapping[str, int]:
        return Counter(await self._orders.apply([_verdict(received) for received in batch]))


class ProductEvents:
    """The queue `orders.products`."""

    def __init__(self, products: Products) -> None:
        self._products = products

    async def handle(self, batch: Sequence[Received]) -> Mapping[str, int]:
        product_ids = {received.data["product_id"] for received in batch}
        await self._products.forget(sorted(product_ids))
        return {"products": len(product_ids)}


def _verdict(received: Received) -> Verdict:
    data = received.data
    trace_id = tracing.trace_id_of(received.event.traceparent)
    return Verdict(data["order_id"], data["product_id"], data["status"], data["reason"], trace_id)
