"""One order from its request to its end, as a client sees it and as the logs tell it."""

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from tools.stack import logs
from tools.stack.errors import StackError
from tools.stack.http import Answer, call
from tools.stack.services import NAMES

PRODUCT = {"name": "Desk lamp", "price": "19.90", "qty": 10}
QUANTITY = 2
CREATED, OK = 201, 200
PAUSE_SECONDS = 0.05
ORDER_SECONDS = 10.0
LOG_SECONDS = 2.0


async def run(gateway: str, folder: Path, say: Callable[[str], None]) -> None:
    """StackError if the order does not end as `done` within ORDER_SECONDS."""
    product = await _create(f"{gateway}/products", PRODUCT)
    say(f"Product {product['data']['id']}: {PRODUCT['qty']} of {PRODUCT['name']!r} at {PRODUCT['price']}")
    created = await _create(f"{gateway}/orders", {"productId": product["data"]["id"], "quantity": QUANTITY})
    say(f"Order {created['data']['id']}: {QUANTITY} of them, {created['data']['status']}")
    order = await _final(f"{gateway}/orders/{created['data']['id']}")
    say(json.dumps(order, indent=2))
    if order["status"] != "done":
        raise StackError(f"order {order['id']} ended as {order['status']}")
    say(f"\nTrace {created['traceId']}:")
    for line in await _story(folder, created["traceId"], datetime.fromisoformat(order["updatedAt"])):
        say(str(line))


async def _create(url: str, body: Mapping[str, object]) -> Any:
    return _expect(CREATED, await _call("POST", url, body), f"POST {url}")


async def _final(url: str) -> Any:
    """The order, once it is no longer pending."""
    try:
        async with asyncio.timeout(ORDER_SECONDS):
            while True:
                order = _expect(OK, await _call("GET", url), f"GET {url}")["data"]
                if order["status"] != "pending":
                    return order
                await asyncio.sleep(PAUSE_SECONDS)
    except TimeoutError:
        raise StackError(f"{url} is still pending after {ORDER_SECONDS:g} s") from None


async def _story(folder: Path, trace_id: str, done: datetime) -> list[logs.Line]:
    """Waits for all services to have told their part: orders writes its last line just after the change."""
    try:
        async with asyncio.timeout(LOG_SECONDS):
            while True:
                lines = logs.latest(folder, trace_id)
                told = {line.service for line in lines if line.service != "orders" or line.time >= done}
                if told == set(NAMES):
                    return lines
                await asyncio.sleep(PAUSE_SECONDS)
    except TimeoutError:
        raise StackError(f"not every service has logged its part of trace {trace_id}") from None


async def _call(method: str, url: str, body: Mapping[str, object] | None = None) -> Answer:
    try:
        return await call(method, url, body)
    except OSError as error:
        raise StackError(str(error)) from None


def _expect(status: int, answer: Answer, request: str) -> Any:
    if answer.status != status:
        raise StackError(f"{request} answered {answer.status}: {json.dumps(answer.body)}")
    return answer.body
