"""What a single client sees of a loaded system: a few orders a second, sent by the clock."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

import aiohttp

LIMIT = aiohttp.ClientTimeout(total=10)
RATE = 50


@dataclass
class Probe:
    """Milliseconds until an answer, from when the request should have been sent."""

    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    """503, with a time to come back."""
    broken: list[str] = field(default_factory=list)
    """No answer, or one that a client cannot do anything with."""


async def watch(gateway: str, products: Sequence[int], seconds: float) -> Probe:
    """Sends `RATE` orders a second, whatever becomes of them."""
    probe = Probe()
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        aiohttp.ClientSession(gateway, timeout=LIMIT, connector=connector) as session,
        asyncio.TaskGroup() as group,
    ):
        started = time.perf_counter()
        for number in range(int(seconds * RATE)):
            due = started + number / RATE
            await asyncio.sleep(due - time.perf_counter())
            group.create_task(_order(session, products[number % len(products)], due, probe))
    return probe


async def _order(session: aiohttp.ClientSession, product: int, due: float, probe: Probe) -> None:
    try:
        async with session.post("/orders", json={"productId": product, "quantity": 1}) as response:
            await response.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        probe.broken.append(repr(error))
        return
    milliseconds = (time.perf_counter() - due) * 1e3
    if response.status == HTTPStatus.CREATED:
        probe.accepted.append(milliseconds)
    elif response.status == HTTPStatus.SERVICE_UNAVAILABLE and "Retry-After" in response.headers:
        probe.refused.append(milliseconds)
    else:
        probe.broken.append(str(response.status))
