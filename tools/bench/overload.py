"""Sends more orders than the system can take.

The capacity is measured first, in a closed loop; then orders come at shares and multiples of it, and a second client
records what it sees of that. wrk's connections pause between their requests, so that a refusal does not bring the
next request at once.
"""

import asyncio
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import NamedTuple

import aiohttp

from tools.bench import measurement
from tools.bench.costs import MIB
from tools.bench.measurement import Report, Result
from tools.bench.wrk import Load
from tools.running import RunningStack
from tools.stack.errors import StackError

TIMES = (0.5, 1.0, 2.0, 3.0)
# Nearly as many connections as the gateway takes from one address, and pauses as long as that permits: the rate then
# hardly depends on how fast the answers are.
CONNECTIONS = 1_500
LONGEST_PAUSE = 0.4
PROBES_PER_SECOND = 50
LIMIT = aiohttp.ClientTimeout(total=10)


@dataclass
class Probe:
    """A client that sends a few requests a second by the clock; milliseconds count from when one was due."""

    gateway: str
    requests: Sequence[str] = ("POST /orders",)
    """Sent in turn; what is posted is an order."""
    headers: Mapping[str, str] = field(default_factory=dict)
    new_connections: bool = False
    """One for each request."""
    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    """Answered with 503 and a time to come back."""
    broken: int = 0
    """Requests without an answer, or with one that a client cannot act on."""

    async def watch(self, products: Sequence[int], over: asyncio.Event) -> None:
        """Sends at a fixed rate, however slow the answers are."""
        connector = aiohttp.TCPConnector(limit=0, force_close=self.new_connections)
        async with (
            aiohttp.ClientSession(self.gateway, headers=self.headers, timeout=LIMIT, connector=connector) as session,
            asyncio.TaskGroup() as group,
        ):
            due, number = time.perf_counter(), 0
            while not over.is_set():
                request, product = self.requests[number % len(self.requests)], products[number % len(products)]
                group.create_task(self._send(session, request, product, due))
                number += 1
                due += 1 / PROBES_PER_SECOND
                await asyncio.sleep(due - time.perf_counter())

    async def _send(self, session: aiohttp.ClientSession, request: str, product: int, due: float) -> None:
        method, target = request.split()
        order = {"productId": product, "quantity": 1} if method == "POST" else None
        try:
            async with session.request(method, target, json=order) as response:
                await response.content.readline()  # all of a JSON answer, and the first of a stream's
        except (aiohttp.ClientError, TimeoutError):
            self.broken += 1
            return
        milliseconds = (time.perf_counter() - due) * 1e3
        if response.ok:
            self.accepted.append(milliseconds)
        elif response.status == HTTPStatus.SERVICE_UNAVAILABLE and "Retry-After" in response.headers:
            self.refused.append(milliseconds)
        else:
            self.broken += 1


async def measure(stack: RunningStack, seconds: int) -> Report:
    """A step takes so many seconds. Raises StackError if an order is lost."""
    stack.require_processes()
    await measurement.warm_up(stack)
    capacity = (await measurement.run(stack, Load(seconds))).accepted_rate
    lines, broken = zip(
        *[_line(await step(stack, capacity, times, seconds), capacity) for times in TIMES], strict=True
    )
    head = "offered       per s  accepted/s  of capacity  accepted p50  p95 ms  refused p50  p95 ms  broken      MiB"
    title = f"capacity: {capacity:,.0f} orders/s ({Load.connections} connections, closed loop)\n"
    return [title, head, *lines], not any(broken)


class Step(NamedTuple):
    times: float
    result: Result
    probe: Probe


async def step(stack: RunningStack, capacity: float, times: float, seconds: int) -> Step:
    """Offers so many times the capacity. Raises StackError if an order is lost."""
    rate, probe = capacity * times, Probe(stack.url["gateway"])
    connections = max(1, min(CONNECTIONS, int(rate * LONGEST_PAUSE)))
    load = Load(seconds, connections=connections, pause=int(connections / rate * 1e3))
    result = await measurement.run(stack, load, probe.watch)
    if result.inconsistencies:
        raise StackError(f"at {times:g} times the capacity: {', '.join(result.inconsistencies)}")
    return Step(times, result, probe)


def _line(step: Step, capacity: float) -> tuple[str, int]:
    """Returns a line of the table, and how many requests were neither accepted nor properly refused."""
    times, result, probe = step
    requests, memory = result.requests, result.costs.parts["gateway"].memory or 0
    broken = probe.broken + requests.failed - requests.failures["status"]
    line = (
        f"{times:>5.1f} times {requests.answers / requests.seconds:>7,.0f}"
        f"{result.accepted_rate:>12,.0f}{result.accepted_rate / capacity:>12.0%} "
        f"{percentile(probe.accepted, 50):>13.1f}{percentile(probe.accepted, 95):>8.1f}"
        f"{percentile(probe.refused, 50):>13.1f}{percentile(probe.refused, 95):>8.1f}"
        f"{broken:>8}{memory / MIB:>9.1f}"
    )
    return line, broken


def percentile(values: Sequence[float], percent: int) -> float:
    """Returns 0 where there are too few values."""
    return statistics.quantiles(values, n=100)[percent - 1] if len(values) > 1 else 0.0
