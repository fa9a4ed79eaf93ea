"""What the product service does with the events it consumes."""

from collections import Counter
from collections.abc import Mapping, Sequence

from products.service import Stock
from products.settlement import Claim, Release
from shared.contracts.events import EventType
from shared.messaging.consumer import Received


class OrderEvents:
    """The queue `products.orders`."""

    def __init__(self, stock: Stock) -> None:
        self._stock = stock

    async def handle(self, batch: Sequence[Received]) -> Mapping[str, int]:
        settlement = await self._stock.settle([_request(received) for received in batch])
        answers = Counter[str](reservation.outcome for reservation, _ in settlement.answers)
        answers["released"] = sum(move.kind == "release" for move in settlement.moves)
        return +answers


def _request(received: Received) -> Claim | Release:
    if received.event.type == EventType.ORDER_CANCELLED:
        return Release(**received.data)
    return Claim(**received.data, traceparent=received.event.traceparent)
