"""Two orders from their requests to their ends, as a client sees them and as the logs show them."""

import asyncio
import json
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

from tools.stack import logs
from tools.stack.errors import StackError
from tools.stack.http import ask
from tools.stack.services import NAMES
from tools.terminal import say

PRODUCTS = (
    {"name": "Desk lamp", "price": "19.90", "qty": 10},
    {"name": "Light bulb", "price": "2.50", "qty": 100},
)
QUANTITY = 2
HOLD_SECONDS = 900
ORDER_SECONDS = 10
LOG_SECONDS = 2.0
PAUSE_SECONDS = 0.05


async def run(gateway: str, folder: Path) -> None:
    """StackError if an order does not end as `done` within ORDER_SECONDS."""
    ids = []
    for product in PRODUCTS:
        ids.append((await ask(HTTPStatus.CREATED, "POST", f"{gateway}/products", product))["data"]["id"])
        say(f"Product {ids[-1]}: {product['qty']} of {product['name']!r} at {product['price']}")
    created = await _placed(gateway, {"productId": ids[0], "quantity": QUANTITY})
    order = await _decided(gateway, created, "done")
    say(json.dumps(order, indent=2))
    await _tell(folder, created["traceId"], order)

    lines = [{"productId": id_, "quantity": QUANTITY} for id_ in ids]
    created = await _placed(gateway, {"lines": lines, "holdSeconds": HOLD_SECONDS})
    order = await _decided(gateway, created, "held")
    await _tell(folder, created["traceId"], order)
    confirmed = await ask(HTTPStatus.OK, "POST", f"{gateway}/orders/{order['id']}/confirm")
    say(f"\nHeld until {order['expiresAt']}, and confirmed: {confirmed['data']['status']}")
    await _tell(folder, confirmed["traceId"], confirmed["data"])


async def _placed(gateway: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """The envelope of the answer."""
    created: dict[str, Any] = await ask(HTTPStatus.CREATED, "POST", f"{gateway}/orders", wanted)
    what = " and ".join(f"{line['quantity']} of product {line['productId']}" for line in created["data"]["lines"])
    say(f"\nOrder {created['data']['id']}: {what}, {created['data']['status']}")
    return created


async def _decided(gateway: str, created: dict[str, Any], expected: str) -> dict[str, Any]:
    url = f"{gateway}/orders/{created['data']['id']}"
    answer = await ask(HTTPStatus.OK, "GET", f"{url}?wait={ORDER_SECONDS}", limit=ORDER_SECONDS + 5)
    order: dict[str, Any] = answer["data"]
    if order["status"] != expected:
        raise StackError(f"{url} is {order['status']} and not {expected} after {ORDER_SECONDS} s")
    return order


async def _tell(folder: Path, trace_id: str, order: dict[str, Any]) -> None:
    say(f"\nTrace {trace_id}:")
    for line in await _story(folder, trace_id, datetime.fromisoformat(order["updatedAt"])):
        say(str(line))


async def _story(folder: Path, trace_id: str, changed: datetime) -> list[logs.Line]:
    """Waits until all services have logged their part; `orders` writes its last line just after the change."""
    try:
        async with asyncio.timeout(LOG_SECONDS):
            while True:
                lines = logs.search(logs.current(folder), {trace_id})
                if {line.service for line in lines if line.service != "orders" or line.time >= changed} == set(NAMES):
                    return lines
                await asyncio.sleep(PAUSE_SECONDS)
    except TimeoutError:
        raise StackError(f"not every service has logged its part of trace {trace_id}") from None
