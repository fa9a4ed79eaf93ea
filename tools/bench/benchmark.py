"""One run: products of its own, a warm-up, the measured load, and the wait until every order is final."""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from tools import costs, usage
from tools.bench import wrk
from tools.bench.ledger import Ledger, Outcome
from tools.costs import Costs
from tools.running import RunningStack
from tools.stack.errors import StackError
from tools.stack.http import call

WARM_UP_SECONDS = 3
SETTLE_SECONDS = 60.0
STOCK = 2**31 - 1


@dataclass(frozen=True)
class Load:
    """`orders`: stop after that many, at the latest after `seconds`."""

    seconds: int
    products: int
    orders: int | None = None


@dataclass(frozen=True)
class Result:
    load: Load
    shot: wrk.Shot
    outcome: Outcome
    settled: bool
    costs: Costs

    @property
    def problems(self) -> list[str]:
        """What makes the run a failure; empty if it is none."""
        outcome, shot = self.outcome, self.shot
        found = {
            f"{shot.failed} requests failed": shot.failed,
            f"{outcome.pending} orders are not final after {SETTLE_SECONDS:g} s": not self.settled,
            f"{outcome.rejected} orders were rejected": outcome.rejected,
            f"{shot.accepted} orders were accepted, but only {outcome.orders} exist": shot.accepted > outcome.orders,
            "stock does not add up": not outcome.stock_adds_up,
        }
        return [problem for problem, present in found.items() if present]


async def run(stack: RunningStack, program: Path, load: Load, say: Callable[[str], None]) -> Result:
    """StackError if it cannot be measured at all."""
    gateway, ledger = stack.url["gateway"], Ledger(stack.url["orders-db"], stack.url["products-db"])
    say(f"Warming up for {WARM_UP_SECONDS} s")
    warm_up = await create_products(gateway, load.products)
    await wrk.shoot(program, gateway, warm_up, WARM_UP_SECONDS)
    if not await ledger.settled(warm_up, SETTLE_SECONDS):
        raise StackError(f"orders of the warm-up are still pending after {SETTLE_SECONDS:g} s")
    products = await create_products(gateway, load.products)
    say(f"Ordering at {gateway} over {wrk.CONNECTIONS} connections")
    before = usage.snapshot(stack.pids)
    shot = await wrk.shoot(program, gateway, products, load.seconds, load.orders)
    settled = await ledger.settled(products, SETTLE_SECONDS)
    after = usage.snapshot(stack.pids)
    outcome = await ledger.outcome(products, STOCK)
    if not outcome.orders:
        raise StackError(f"no order was accepted: {shot.failures}")
    used = costs.of_run(before, after, orders=outcome.orders, generator="wrk")
    return Result(load, shot, outcome, settled, used)


async def create_products(gateway: str, count: int) -> list[int]:
    """Their ids; each has as much stock as a product can have."""
    ids: list[int] = []
    for number in range(count):
        answer = await call("POST", f"{gateway}/products", {"name": f"Bench {number}", "price": "19.90", "qty": STOCK})
        if answer.status != HTTPStatus.CREATED:
            raise StackError(f"POST /products answered {answer.status}")
        ids.append(answer.body["data"]["id"])
    return ids
