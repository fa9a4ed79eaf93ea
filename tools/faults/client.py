"""The clients of a round: they do what the plan says, when it says so, and note every answer."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from shared import tracing
from shared.tasks import Backoff
from shared.web.client import ClientTimeouts, client_session, once
from shared.web.headers import IDEMPOTENCY_KEY
from tools.faults.plan import Operation, Plan
from tools.faults.record import Attempt, Outcome, Record

# The gateway answers within 5 s whatever is broken behind it.
LIMITS = ClientTimeouts(total=8.0, connect=8.0, read=8.0)
# Seconds after the end of the round in which what is uncertain is still repeated.
PATIENCE = 30.0
_MOST_IN_FLIGHT = 200
# Seconds between two tries, and at most before a request with a certain answer is sent again.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 1.0
_LATER = 2.0
_CREATED = 201


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    content: Mapping[str, object] | None = None
    key: str | None = None


async def create_products(plan: Plan, url: str, record: Record, limits: ClientTimeouts = LIMITS) -> None:
    """Nothing must be broken yet: raises RuntimeError for the first that is not accepted."""
    async with _gateway(url, limits) as gateway:
        for index, product in enumerate(plan.products):
            content = {"name": f"Product {index} of round {plan.seed}", "price": product.price, "qty": product.qty}
            attempt = await gateway.send(Request("POST", "/products", content), time.monotonic())
            if attempt.status != _CREATED:
                raise RuntimeError(f"{content['name']} was not accepted: {attempt}")
            record.products.append(attempt.data["id"])


async def drive(
    plan: Plan, url: str, record: Record, *, started: float | None = None, limits: ClientTimeouts = LIMITS
) -> None:
    """Ends when every operation has a certain answer, at most PATIENCE and one request after the end of the round.

    `started` is the beginning of the round by `time.monotonic`: now, or after products that are not there yet.
    """
    if not record.products:
        await create_products(plan, url, record, limits)
    record.outcomes.extend(map(Outcome, plan.operations))
    async with _gateway(url, limits) as gateway:
        clients = _Clients(gateway, plan, record, time.monotonic() if started is None else started)
        await clients.run()


class _Gateway:
    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url.rstrip("/")
        self._session = session

    async def send(self, request: Request, started: float) -> Attempt:
        """Once, under a trace of its own."""
        trace = tracing.begin()
        headers = {"Content-Type": "application/json"} if request.content is not None else {}
        headers["traceparent"] = trace.traceparent
        if request.key is not None:
            headers[IDEMPOTENCY_KEY] = request.key
        body = None if request.content is None else orjson.dumps(request.content)
        began = time.monotonic() - started
        try:
            async with self._session.request(
                request.method, self._url + request.path, headers=headers, data=body, allow_redirects=False
            ) as response:
                raw = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return Attempt(trace.trace_id, began, time.monotonic() - started, error=repr(error))
        ended = time.monotonic() - started
        is_deferred = "Retry-After" in response.headers
        return Attempt(trace.trace_id, began, ended, response.status, _json(raw), is_deferred=is_deferred)


@asynccontextmanager
async def _gateway(url: str, limits: ClientTimeouts) -> AsyncIterator[_Gateway]:
    async with client_session(limits, connections=_MOST_IN_FLIGHT, middlewares=(once,)) as session:
        yield _Gateway(url, session)


def _json(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


class _Clients:
    """Every wait of theirs ends: a request by its limits, and none begins after `last`."""

    def __init__(self, gateway: _Gateway, plan: Plan, record: Record, started: float) -> None:
        self._gateway = gateway
        self._plan = plan
        self._record = record
        self._started = started
        self._last = started + plan.seconds + PATIENCE
        self._in_flight = asyncio.Semaphore(_MOST_IN_FLIGHT)
        self._tried = [asyncio.Event() for _ in plan.operations]
        self._repricing = [asyncio.Lock() for _ in plan.products]

    async def run(self) -> None:
        async with asyncio.TaskGroup() as operations:
            for index, operation in enumerate(self._plan.operations):
                await asyncio.sleep(self._started + operation.at - time.monotonic())
                operations.create_task(self._operate(index, operation), name=f"operation {index}")

    async def _operate(self, index: int, operation: Operation) -> None:
        outcome = self._record.outcomes[index]
        rng = random.Random(f"{self._plan.seed}:{index}")  # noqa: S311  # pauses are no secret
        try:
            request = await self._request(index, operation)
            if request is None:
                return
            if operation.action == "reprice":
                async with self._repricing[operation.product]:  # so that their order is known
                    await self._try(outcome, request)
            elif operation.key is None and operation.action != "cancel":
                await self._try(outcome, request)
            else:
                await self._repeat(outcome, request, rng)
        finally:
            self._tried[index].set()
        for _ in range(operation.again):
            await asyncio.sleep(rng.uniform(0, _LATER))
            await self._try(outcome, request)

    async def _request(self, index: int, operation: Operation) -> Request | None:
        """None for a cancel of an order that was not accepted; whether it was is waited for."""
        product = self._record.products[operation.product]
        match operation.action:
            case "order":
                content = {"productId": product, "quantity": operation.amount}
                return Request("POST", "/orders", content, operation.key)
            case "cancel":
                order = await self._order(operation.of)
                return None if order is None else Request("POST", f"/orders/{order}/cancel")
            case "adjust":
                adjustment = {"delta": operation.amount, "reason": f"operation {index}"}
                return Request("POST", f"/products/{product}/stock", adjustment, operation.key)
            case "reprice":
                return Request("PATCH", f"/products/{product}", {"price": operation.price})
            case "read":
                return Request("GET", f"/products/{product}")
            case "list":
                return Request("GET", f"/orders/product/{product}")

    async def _order(self, index: int) -> int | None:
        """The id of an order, once it is known whether there is one."""
        await self._tried[index].wait()
        answer = self._record.outcomes[index].answer
        return answer.data["id"] if answer is not None and answer.status == _CREATED and answer.data else None

    async def _repeat(self, outcome: Outcome, request: Request, rng: random.Random) -> None:
        """Until the answer is certain."""
        pause = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE, draw=rng.uniform)
        while time.monotonic() < self._last:
            await self._try(outcome, request)
            if outcome.answer is not None:
                return
            await asyncio.sleep(pause.next())

    async def _try(self, outcome: Outcome, request: Request) -> None:
        async with self._in_flight:
            if time.monotonic() < self._last:
                outcome.attempts.append(await self._gateway.send(request, self._started))
