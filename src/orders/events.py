"""Handles the events that the order service consumes: one function for each queue."""

from collections import Counter
from collections.abc import Sequence

from orders.domain import Verdict
from orders.products import Products
from orders.service import Orders
from shared import tracing
from shared.contracts.events import Shortage
from shared.contracts.fields import lines_of
from shared.errors import AppError, Code
from shared.messaging.consumer import Handled
from shared.messaging.deliveries import Received

_SHORTAGES = Shortage(many=True)


async def apply_verdicts(orders: Orders, batch: Sequence[Received]) -> Handled:
    """Handles the queue `orders.stock`."""
    applied = await orders.apply([_verdict(received) for received in batch])
    conflict = AppError(Code.CONFLICT, "Another order has this number")
    return Handled(
        Counter(applied.statuses),
        [(batch[position], conflict) for position in applied.conflicts],
        [batch[position] for position in applied.blocked],
    )


async def forget_products(products: Products, batch: Sequence[Received]) -> Handled:
    """Handles the queue `orders.products`."""
    product_ids = {received.data["product_id"] for received in batch}
    await products.forget(product_ids)
    return Handled({"products": len(product_ids)})


def _verdict(received: Received) -> Verdict:
    data = received.data
    shortages = data.get("shortages")
    return Verdict(
        data["order_id"],
        data["order_uid"],
        data.get("product_id"),
        [line["product_id"] for line in lines_of(data)],
        data["status"],
        data["reason"],
        _SHORTAGES.dumps(shortages, separators=(",", ":")) if shortages else None,
        tracing.trace_id_of(received.event.traceparent),
    )
