"""A service behind the gateway: which of its addresses a request goes to, and what is tried once more."""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp

from gateway.metrics import METRICS
from gateway.upstream import retries
from gateway.upstream.address import Address
from gateway.upstream.admission import Admission, Place
from gateway.upstream.breaker import Permit
from gateway.upstream.concurrency import ConcurrencyLimit, LimitParameters
from gateway.upstream.patience import Patience
from gateway.upstream.retries import RetryBudget
from shared import deadline
from shared.errors import AppError, Code
from shared.web.client import Reply, ServiceClient
from shared.web.headers import IDEMPOTENCY_KEY

# Answers that are a failure of the address, not of the request: its own proxy's, or none that is an answer.
_BROKEN = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT})
# More at once make no service faster, only its answers later.
_LIMIT = LimitParameters(least=48, most=128, buffer=0.1)
# Half of what an order service lets wait (orders.watch).
_MOST_WAITING = 256


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it is sent; `patience` are seconds that it may take on top of what any may.

    A `hurried` one has so little time, by its client's own wish, that running out of it tells nothing of the service.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None = None
    patience: float = 0.0
    hurried: bool = False


class ServicePool:
    """Requests go to the address with the least load among those whose breaker lets them through."""

    def __init__(self, name: str, addresses: Sequence[Address], admission: Admission) -> None:
        self.name = name
        self.addresses = tuple(addresses)
        self.admission = admission
        self._rotation = deque(addresses)
        self._budget = RetryBudget()
        self._waiting = 0

    async def request(self, call: Call) -> Reply:
        """Raises AppError: UNAVAILABLE if it has too much to do, and what `ServiceClient.request` raises."""
        if call.patience:
            with self._place_to_wait():
                return await self._request(call)
        async with self.admission.enter() as place:
            return await self._request(call, place)

    @asynccontextmanager
    async def stream(self, call: Call, quiet: float) -> AsyncIterator[aiohttp.ClientResponse]:
        """As `ServiceClient.stream`; tried once."""
        with self._place_to_wait():
            address, permit = self._choose()
            with address.attempt(permit, waits=True) as attempt:
                async with address.upstream.stream(
                    call.method, call.target, headers=call.headers, quiet=quiet
                ) as response:
                    attempt.tell(ok=response.status not in _BROKEN)
                    yield response

    async def is_ready(self) -> bool:
        """Whether any address is; one that hangs does not hold up the others."""
        checks = [asyncio.create_task(address.is_ready()) for address in self.addresses]
        try:
            for check in asyncio.as_completed(checks):
                if await check:
                    return True
            return False
        finally:
            for check in checks:
                check.cancel()

    @contextmanager
    def _place_to_wait(self) -> Iterator[None]:
        """For requests that take their time by intention, which say nothing of how busy the service is."""
        if self._waiting >= _MOST_WAITING:
            METRICS.refused.labels("waiting").inc()
            raise AppError(Code.UNAVAILABLE, f"Too many clients wait for {self.name}")
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def _request(self, call: Call, place: Place | None = None) -> Reply:
        """Tries once more where that is safe and may help."""
        self._budget.begin()
        try:
            address, permit = self._choose()
            outcome = await _try(address, permit, call)
            if _is_worth_repeating(call, outcome) and self._budget.begin_retry():
                if place is not None:
                    place.forget()  # two tries and a pause are no latency
                outcome = await self._retry(call, outcome, address)
        finally:
            self._budget.end()
        if isinstance(outcome, AppError):
            raise outcome
        if place is not None and outcome.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            place.forget()  # a failure can be fast because nothing was done
        return outcome

    async def _retry(self, call: Call, outcome: Reply | AppError, failed: Address) -> Reply | AppError:
        """What came of the first try, at `failed`, stays if the deadline leaves no time for another."""
        try:
            pause = retries.delay()
            if pause >= deadline.left():
                return outcome
            METRICS.retries.labels(self.name).inc()
            await asyncio.sleep(pause)
            address, permit = self._choose(failed)
            return await _try(address, permit, call)
        finally:
            self._budget.end_retry()

    def _choose(self, failed: Address | None = None) -> tuple[Address, Permit]:
        """Equals take turns, `failed` comes last. Raises AppError UNAVAILABLE if every breaker is open."""
        now = time.monotonic()
        self._rotation.rotate()
        for address in sorted(self._rotation, key=lambda each: (each is failed, each.load)):
            if permit := address.breaker.permit(now):
                return address, permit
        wait = min(address.breaker.retry_after(now) for address in self.addresses)
        METRICS.refused.labels("breaker").inc()
        message = f"{self.name} has failed too often and is left alone for a while"
        raise AppError(Code.UNAVAILABLE, message, retry_after=math.ceil(wait) or 1)


async def _try(address: Address, permit: Permit, call: Call) -> Reply | AppError:
    with address.attempt(permit, waits=call.patience > 0) as attempt:
        outcome: Reply | AppError
        try:
            outcome = await address.upstream.request(
                call.method, call.target, headers=call.headers, body=call.body, extra_seconds=call.patience
            )
        except AppError as error:
            outcome = error
        if call.hurried and outcome.status == HTTPStatus.GATEWAY_TIMEOUT:  # by our clock or, told of it, the service's
            attempt.forget()
        else:
            attempt.tell(ok=isinstance(outcome, Reply) and outcome.status not in _BROKEN)
        return outcome


def _is_worth_repeating(call: Call, outcome: Reply | AppError) -> bool:
    if isinstance(outcome, Reply):
        connected, transient = True, retries.worth_repeating(outcome.status)
    else:
        connected, transient = outcome.code is not Code.UNAVAILABLE, outcome.code is not Code.UPSTREAM_TIMEOUT
    return transient and retries.may_repeat(call.method, keyed=IDEMPOTENCY_KEY in call.headers, connected=connected)


def open_service(name: str, urls: Sequence[str], session: aiohttp.ClientSession) -> ServicePool:
    """One address for each URL; it is seen in the metrics from then on."""
    addresses = [Address(ServiceClient(name, url, session)) for url in urls]
    limit = ConcurrencyLimit(_LIMIT)
    admission = Admission(name, limit, Patience())
    METRICS.in_flight.labels(name).set_function(lambda: admission.in_flight)
    METRICS.queued.labels(name).set_function(lambda: admission.waiting)
    METRICS.limit.labels(name).set_function(lambda: limit.limit)
    for number, address in enumerate(addresses):
        METRICS.watch_breaker(name, number, address.breaker)
    return ServicePool(name, addresses, admission)
