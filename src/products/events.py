"""What the product service does with the events it consumes."""

from collections import Counter
from collections.abc import Mapping, Sequence

from products.domain import Claim
from products.service import Stock
from shared.messaging.consumer import Received


class OrderEvents:
    """The queue `products.orders`."""

    def __init__(self, stock: Stock) -> None:
        self._stock = stock

    async def handle(self, batch: Sequence[Received]) -> Mapping[str, int]:
        outcomes = await self._stock.take([Claim(**each.data, traceparent=each.event.traceparent) for each in batch])
        return Counter[str](outcome.answer for outcome in outcomes)
