"""Handles the events that the product service consumes."""

from collections import Counter
from collections.abc import Mapping, Sequence

from products.service import Stock
from products.settlement import Claim, Release
from shared.contracts.events import EventType
from shared.messaging.consumer import Received


async def settle_orders(stock: Stock, batch: Sequence[Received]) -> Mapping[str, int]:
    """Handles the queue `products.orders`."""
    settlement = await stock.settle([_request(received) for received in batch])
    answers = Counter[str](reservation.outcome for reservation, _ in settlement.answers)
    answers["released"] = sum(movement.kind == "release" for movement in settlement.movements)
    return +answers


def _request(received: Received) -> Claim | Release:
    if received.event.type == EventType.ORDER_CANCELLED:
        return Release(**received.data)
    return Claim(**received.data, traceparent=received.event.traceparent)
