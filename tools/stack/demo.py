"""One order from its request to its end, as a client sees it and as the logs show it."""

import asyncio
import json
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from pathlib import Path

from tools.stack import logs
from tools.stack.errors import StackError
from tools.stack.http import ask
from tools.stack.services import NAMES

PRODUCT = {"name": "Desk lamp", "price": "19.90", "qty": 10}
QUANTITY = 2
ORDER_SECONDS = 10
LOG_SECONDS = 2.0
PAUSE_SECONDS = 0.05


async def run(gateway: str, folder: Path, say: Callable[[str], None]) -> None:
    """StackError if the order does not end as `done` within ORDER_SECONDS."""
    product = (await ask(HTTPStatus.CREATED, "POST", f"{gateway}/products", PRODUCT))["data"]
    say(f"Product {product['id']}: {PRODUCT['qty']} of {PRODUCT['name']!r} at {PRODUCT['price']}")
    wanted = {"productId": product["id"], "quantity": QUANTITY}
    created = await ask(HTTPStatus.CREATED, "POST", f"{gateway}/orders", wanted)
    url = f"{gateway}/orders/{created['data']['id']}"
    say(f"Order {created['data']['id']}: {QUANTITY} of them, {created['data']['status']}")
    order = (await ask(HTTPStatus.OK, "GET", f"{url}?wait={ORDER_SECONDS}", limit=ORDER_SECONDS + 5))["data"]
    if order["status"] == "pending":
        raise StackError(f"{url} is still pending after {ORDER_SECONDS} s")
    say(json.dumps(order, indent=2))
    if order["status"] != "done":
        raise StackError(f"order {order['id']} ended as {order['status']}")
    say(f"\nTrace {created['traceId']}:")
    for line in await _story(folder, created["traceId"], datetime.fromisoformat(order["updatedAt"])):
        say(str(line))


async def _story(folder: Path, trace_id: str, done: datetime) -> list[logs.Line]:
    """Waits until all services have logged their part; `orders` writes its last line just after the change."""
    try:
        async with asyncio.timeout(LOG_SECONDS):
            while True:
                lines = logs.search(logs.current(folder), {trace_id})
                if {line.service for line in lines if line.service != "orders" or line.time >= done} == set(NAMES):
                    return lines
                await asyncio.sleep(PAUSE_SECONDS)
    except TimeoutError:
        raise StackError(f"not every service has logged its part of trace {trace_id}") from None
