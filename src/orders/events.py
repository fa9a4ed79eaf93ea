"""Handles the events that the order service consumes: one function for each queue."""

from collections import Counter
from collections.abc import Mapping, Sequence

from orders.domain import Verdict
from orders.products import Products
from orders.service import Orders
from shared import tracing
from shared.messaging.consumer import Received


async def apply_verdicts(orders: Orders, batch: Sequence[Received]) -> Mapping[str, int]:
    """Handles the queue `orders.stock`."""
    return Counter(await orders.apply([_verdict(received) for received in batch]))


async def forget_products(products: Products, batch: Sequence[Received]) -> Mapping[str, int]:
    """Handles the queue `orders.products`."""
    product_ids = {received.data["product_id"] for received in batch}
    await products.forget(product_ids)
    return {"products": len(product_ids)}


def _verdict(received: Received) -> Verdict:
    return Verdict(**received.data, trace_id=tracing.trace_id_of(received.event.traceparent))
