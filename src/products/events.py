"""Handles the events that the product service consumes."""

from collections import Counter
from collections.abc import Sequence

from products import metrics
from products.service import Stock
from products.settlement import Claim, Confirmation, Line, Release, Request
from shared.contracts.events import EventType
from shared.contracts.fields import lines_of
from shared.errors import AppError, Code
from shared.messaging.consumer import Handled
from shared.messaging.dead_letters import NewerError
from shared.messaging.deliveries import Received


async def settle_orders(stock: Stock, batch: Sequence[Received]) -> Handled:
    """Handles the queue `products.orders`."""
    settlement = await stock.settle([_request(received) for received in batch])
    answers = Counter[str](reservation.outcome for _, reservation in settlement.answers)
    answers["released"] = len({movement.order_id for movement in settlement.movements if movement.kind == "release"})
    answers["confirmed"] = sum(reservation.outcome == "reserved" for reservation in settlement.changed)
    for outcome, orders in answers.items():
        metrics.ANSWERS.labels(outcome).inc(orders)
    newer = NewerError(Code.CONFLICT, "Its reservation has an outcome of a newer release")
    conflicts = [(batch[position], _conflict(batch[position].event.type)) for position in settlement.conflicts]
    return Handled(
        +answers,
        [*conflicts, *((batch[position], newer) for position in settlement.unknown)],
        [batch[position] for position in settlement.blocked],
    )


def _request(received: Received) -> Request:
    data = received.data
    lines = tuple(Line(**line) for line in lines_of(data))
    order = (data["order_id"], lines, data["order_uid"])
    match received.event.type:
        case EventType.ORDER_CREATED:
            return Claim(*order, data["held"], received.event.traceparent)
        case EventType.ORDER_CONFIRMED:
            return Confirmation(*order)
        case event_type:
            return Release(*order, expired=event_type == EventType.ORDER_EXPIRED)


def _conflict(event_type: str) -> AppError:
    confirmed = " or the order was confirmed" if event_type == EventType.ORDER_EXPIRED else ""
    return AppError(Code.CONFLICT, f"Another order has the reservation of this number{confirmed}")
