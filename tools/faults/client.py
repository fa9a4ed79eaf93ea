"""The clients of a round: they do what the plan says, when it says so, and record every answer."""

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp
import orjson

from shared import tracing
from shared.errors import AppError
from shared.web.client import ServiceClient, service_clients
from tools.faults.plan import Operation
from tools.faults.record import Attempt, Outcome, Record

# The gateway answers within 5 s whatever is broken behind it.
_LIMITS = aiohttp.ClientTimeout(total=8.0, connect=8.0, sock_read=8.0)
# Seconds after the end of the round in which requests without a certain answer are still repeated.
PATIENCE = 30.0
_MOST_IN_FLIGHT = 200
# Seconds between two tries, and at most before a request with a certain answer is sent again.
_PAUSES = (0.2, 1.0)
_LATER = 2.0


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    content: Mapping[str, object] | None = None
    key: str | None = None


@asynccontextmanager
async def clients(url: str, record: Record, patience: float = PATIENCE) -> AsyncIterator["Clients"]:
    """The clients of the gateway at `url`; all that they see is added to `record`."""
    async with service_clients(_LIMITS) as client:
        yield Clients(client("gateway", url), record, patience)


class Clients:
    """Every wait ends: a request by its limits, and none begins later than `patience` after the round."""

    def __init__(self, gateway: ServiceClient, record: Record, patience: float) -> None:
        self._gateway, self._record, self._plan = gateway, record, record.plan
        self._patience, self._started = patience, time.monotonic()
        self._end = math.inf
        self._in_flight = asyncio.Semaphore(_MOST_IN_FLIGHT)
        self._tried = [asyncio.Event() for _ in self._plan.operations]
        self._repricing = [asyncio.Lock() for _ in self._plan.products]

    async def create_products(self) -> None:
        """Raises RuntimeError for the first product that is refused: nothing may be broken yet."""
        for index, product in enumerate(self._plan.products):
            content = {"name": f"Product {index} of {self._plan.seed}", "price": product.price, "qty": product.qty}
            attempt = await self._send(_Request("POST", "/products", content))
            if attempt.status != HTTPStatus.CREATED:
                raise RuntimeError(f"{content['name']} was not accepted: {attempt}")
            self._record.products.append(attempt.data["id"])

    async def drive(self, started: float) -> None:
        """Plays the plan's operations; `started` is the beginning of the round by `time.monotonic`.

        Ends when every operation has a certain answer, at most `patience` and one request after the end of the round.
        """
        self._started, self._end = started, started + self._plan.seconds
        self._record.outcomes.extend(map(Outcome, self._plan.operations))
        async with asyncio.TaskGroup() as operations:
            for index, operation in enumerate(self._plan.operations):
                await asyncio.sleep(started + operation.at - time.monotonic())
                if started + operation.at > self._end:
                    break
                operations.create_task(self._operate(index, operation), name=f"operation {index}")

    def finish(self) -> None:
        """Ends the round now: what the plan has for later is left out."""
        self._end = time.monotonic()

    async def _operate(self, index: int, operation: Operation) -> None:
        outcome = self._record.outcomes[index]
        rng = random.Random(f"{self._plan.seed}:{index}")  # noqa: S311  # pauses are no secret
        try:
            request = await self._request(operation)
            if request is None:
                return
            if operation.action == "reprice":
                async with self._repricing[operation.product]:  # so that their order is known
                    await self._try(outcome, request)
            elif not operation.may_be_repeated:
                await self._try(outcome, request)
            else:
                while self._may_begin() and outcome.answer is None:
                    if outcome.attempts:
                        await asyncio.sleep(rng.uniform(*_PAUSES))
                    await self._try(outcome, request)
        finally:
            self._tried[index].set()
        for _ in range(operation.again):
            await asyncio.sleep(rng.uniform(0, _LATER))
            await self._try(outcome, request)

    async def _request(self, operation: Operation) -> _Request | None:
        """Waits for the order that a cancel, confirm or extend is for; None if that was not accepted."""
        product = self._record.products[operation.product]
        match operation.action:
            case "order":
                return _Request("POST", "/orders", self._order(operation), operation.key)
            case "cancel" | "confirm" | "extend":
                await self._tried[operation.of].wait()
                answer = self._record.outcomes[operation.of].answer
                order_id = answer.accepted_id if answer else None
                path = f"/orders/{order_id}/{'hold' if operation.action == 'extend' else operation.action}"
                content = {"holdSeconds": operation.hold} if operation.action == "extend" else None
                return None if order_id is None else _Request("POST", path, content)
            case "adjust":
                adjustment = {"delta": operation.amount, "reason": operation.key}
                return _Request("POST", f"/products/{product}/stock", adjustment, operation.key)
            case "reprice":
                return _Request("PATCH", f"/products/{product}", {"price": operation.price})
            case "read":
                return _Request("GET", f"/products/{product}")
            case "list":
                return _Request("GET", f"/orders/product/{product}")

    def _order(self, operation: Operation) -> dict[str, object]:
        """An order of one product names it at its top."""
        lines: list[dict[str, object]] = [
            {
                "productId": self._record.products[product],
                "quantity": quantity,
                **({"unitPrice": self._plan.products[product].price} if operation.priced else {}),
            }
            for product, quantity in operation.lines
        ]
        content = {"lines": lines} if operation.more else lines[0]
        terms = {"holdSeconds": operation.hold, "reference": operation.reference}
        return {**content, **{name: value for name, value in terms.items() if value}}

    async def _try(self, outcome: Outcome, request: _Request) -> None:
        async with self._in_flight:
            if self._may_begin():
                outcome.attempts.append(await self._send(request))

    def _may_begin(self) -> bool:
        return time.monotonic() < self._end + self._patience

    async def _send(self, request: _Request) -> Attempt:
        """Sends it once, under a trace of its own."""
        trace = tracing.begin()
        headers = {"traceparent": trace.traceparent}
        if request.content is not None:
            headers["Content-Type"] = "application/json"
        if request.key is not None:
            headers["Idempotency-Key"] = request.key
        body = None if request.content is None else orjson.dumps(request.content)
        began = time.monotonic() - self._started
        try:
            reply = await self._gateway.request(request.method, request.path, headers=headers, body=body)
        except AppError as error:
            return Attempt(trace.trace_id, began, time.monotonic() - self._started, error=repr(error.__cause__))
        ended = time.monotonic() - self._started
        is_deferred = "Retry-After" in reply.headers
        return Attempt(trace.trace_id, began, ended, reply.status, _json(reply.body), is_deferred=is_deferred)


def _json(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
