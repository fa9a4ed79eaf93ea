"""The decisions of the product service as events, and the orders that they decide."""

from typing import Any

from tests.api import Api
from tests.broker import Vhost, event
from tests.traces import traceparent
from tests.waiting import reaches

PRODUCTS_TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
ORDER = {"productId": 7, "quantity": 3}
PRODUCT_UID = "1b4e28ba-2fa1-41d2-883f-0016d3cca427"


def verdict(order_id: int, status: str, reason: str | None = None, **more: Any) -> dict[str, Any]:
    """`more` goes over its usual data."""
    data = {"orderId": order_id, "productId": 7, "status": status, "reason": reason, **more}
    return event("order.updated", data, traceparent=traceparent(PRODUCTS_TRACE_ID))


async def becomes(api: Api, order_id: int, status: str) -> None:
    await reaches(lambda: status_of(api, order_id), status)


async def status_of(api: Api, order_id: int) -> str:
    return str((await api.data(f"/orders/{order_id}"))["status"])


async def announced(vhost: Vhost, events: int, queue: str = "products.orders") -> list[dict[str, Any]]:
    """The events of a queue, by default those for the product service, which are so many."""
    found: list[dict[str, Any]] = []

    async def count() -> int:
        found.extend(await vhost.take_events(queue))
        return len(found)

    await reaches(count, events)
    return found
