"""One measured load: products of its own, wrk, the wait until every order is final, and what it cost."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from tools.bench import costs, ledger, storage, wrk
from tools.bench.costs import Costs
from tools.bench.ledger import Outcome
from tools.bench.storage import Storage
from tools.bench.wrk import Load, Requests
from tools.running import RunningStack
from tools.stack.errors import StackError
from tools.stack.http import ask

WARM_UP = Load(seconds=3)
SETTLE_SECONDS = 60.0
STOCK = 2**31 - 1

Report = tuple[list[str], bool]
"""The lines to print, and whether the system passed."""
Watch = Callable[[Sequence[int], asyncio.Event], Awaitable[None]]
"""Looks at the system while the load on the given products runs, and returns soon after the event that ends it."""


@dataclass(frozen=True)
class Result:
    load: Load
    requests: Requests
    outcome: Outcome
    settled: bool
    costs: Costs
    storage: Storage

    @property
    def accepted_rate(self) -> float:
        """Orders a second."""
        return self.requests.accepted / self.requests.seconds

    @property
    def done_rate(self) -> float:
        """Orders a second between the first and the last that became final."""
        return self.outcome.done / self.outcome.done_seconds if self.outcome.done_seconds else 0.0

    @property
    def problems(self) -> list[str]:
        """The reasons why the run has failed."""
        return [f"{self.requests.failed} requests failed"] * bool(self.requests.failed) + self.inconsistencies

    @property
    def inconsistencies(self) -> list[str]:
        """The problems that a refused request does not explain."""
        outcome, accepted = self.outcome, self.requests.accepted
        found = {
            f"{outcome.pending} orders are not final after {SETTLE_SECONDS:g} s": not self.settled,
            f"{outcome.rejected} orders were rejected": outcome.rejected,
            f"{accepted} orders were accepted, but only {outcome.orders} exist": accepted > outcome.orders,
            "stock does not add up": not outcome.stock_adds_up,
        }
        return [problem for problem, present in found.items() if present]

    def lines(self) -> Iterator[str]:
        requests, outcome, load = self.requests, self.outcome, self.load
        each = "" if load.lines == 1 else f", {load.lines} in each order"
        products = f"{load.products} products{each}"
        yield f"closed loop, {load.connections} connections, {products}, {requests.seconds:.1f} s\n"
        yield f"{'orders accepted':<18}{requests.accepted:>9,}{self.accepted_rate:>9,.0f}/s"
        yield f"{'orders done':<18}{outcome.done:>9,}{self.done_rate:>9,.0f}/s"
        yield f"{'failed requests':<18}{requests.failed:>9,}"
        yield f"{'time to answer':<18}{_milliseconds(requests.latency)}"
        yield f"{'time to final':<18}{_milliseconds(outcome.waited)}\n"
        yield f"{self.costs.table()}\n"
        stored = self.storage
        yield f"{'WAL':<18}{stored.wal_bytes:>9,.0f} bytes and {stored.wal_records:.1f} records an order"
        yield f"{'on disk':<18}{stored.disk_bytes:>9,.0f} bytes an order, outboxes included\n"
        yield from self.problems or ["every order is done, no request failed, stock adds up"]


def _milliseconds(percentiles: Mapping[str, float]) -> str:
    return "".join(f"   {name} {value:,.1f} ms" for name, value in percentiles.items())


async def warm_up(stack: RunningStack) -> None:
    """Raises StackError unless the whole system is up and becomes idle again after the load."""
    await stack.check()
    if not (await run(stack, WARM_UP)).settled:
        raise StackError(f"orders of the warm-up are still pending after {SETTLE_SECONDS:g} s")


async def run(stack: RunningStack, load: Load, watch: Watch | None = None) -> Result:
    """Installs wrk, if it is missing. Raises StackError if nothing can be measured."""
    await asyncio.to_thread(wrk.install)
    gateway = stack.url["gateway"]
    products = await _create_products(gateway, load.products)
    over = asyncio.Event()

    async def send() -> Requests:
        try:
            return await wrk.send(load, gateway, products)
        finally:
            over.set()

    stored, before = await storage.take(stack), costs.snapshot(stack.pids)
    if watch is None:
        requests = await send()
    else:
        requests, _ = await asyncio.gather(send(), watch(products, over))
    settled = await ledger.settled(stack.url["orders-db"], products, SETTLE_SECONDS, load.lines)
    after = costs.snapshot(stack.pids)
    outcome = await ledger.outcome(stack.url["orders-db"], stack.url["products-db"], products, STOCK, load.lines)
    if not outcome.orders:
        raise StackError(f"no order was accepted: {requests.failures}")
    cost = costs.of_run(before, after, orders=outcome.orders, generator="wrk")
    return Result(load, requests, outcome, settled, cost, storage.of_run(stored, await storage.take(stack)))


async def _create_products(gateway: str, count: int) -> list[int]:
    """Returns the ids of new products, each with as much stock as a product can have."""
    ids: list[int] = []
    for number in range(count):
        product = {"name": f"Bench {number}", "price": "19.90", "qty": STOCK}
        answer = await ask(HTTPStatus.CREATED, "POST", f"{gateway}/products", product)
        ids.append(answer["data"]["id"])
    return ids
