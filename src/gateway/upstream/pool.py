"""A service behind the gateway: which of its addresses a request goes to, and when it is sent a second time."""

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from operator import attrgetter
from typing import TypeVar

import aiohttp
from aiohttp import web

from gateway import metrics
from gateway.upstream.admission import Admission, ConcurrencyLimit, QueuePolicy, Slot
from gateway.upstream.breaker import Breaker, Permit
from shared import deadline
from shared.errors import AppError, Code
from shared.shares import Shares
from shared.web.client import ServiceClient
from shared.web.connection import SAFE
from shared.web.exchange import Reply
from shared.web.headers import IDEMPOTENCY_KEY

# These answers come from a proxy in front of the address and count as its failure. A 500 or 503 of the service does
# not: the service lives, and other requests may succeed.
_BROKEN = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT})
_TRANSIENT = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE})
# Fewer than the waiting clients that an order service accepts (orders.watch). One client alone gets 256 of them.
_MOST_WAITING = 320
# A reply that was read whole, or one that is still coming.
_Answer = TypeVar("_Answer", Reply, aiohttp.ClientResponse)
# Seconds: long enough for a process that restarts to listen again, short enough to fit into a request's deadline.
_SHORTEST_DELAY, _LONGEST_DELAY = 0.025, 0.25


@dataclass(frozen=True, slots=True)
class Call:
    """A request to a service; what there is little of is divided between the values of `client`.

    A call with `extra_seconds` waits for an event: it may take longer, and is no load.

    With `short_deadline` the client asked for so little time that a time-out says nothing about the service.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    client: str
    body: bytes | None = None
    extra_seconds: float = 0.0
    short_deadline: bool = False
    slots: int = 1


class Address:
    """One process of the service, or several behind one name."""

    def __init__(self, client: ServiceClient) -> None:
        self.client = client
        self.breaker = Breaker()
        self.load = 0
        self.is_away = False  # it takes no connections, or has closed the last one as a process that stops does

    async def is_ready(self) -> bool:
        try:
            return (await self.client.request("GET", "/health/ready")).status == HTTPStatus.OK
        except AppError:
            return False

    async def ask(self, permit: Permit, call: Call, sent: Awaitable[_Answer]) -> _Answer:
        """Awaits the answer and records the outcome. AppError is a failure; a cancellation says nothing."""
        load = 0 if call.extra_seconds else 1
        self.load += load
        outcome: _Answer | AppError | None = None
        try:
            outcome = await sent
        except AppError as error:
            outcome = error
            raise
        finally:
            self.load -= load
            if outcome is not None:
                self.is_away = _is_leaving(outcome)
            # The service itself gives up with 504 when the deadline that it was sent is over.
            if outcome is None or (call.short_deadline and outcome.status == HTTPStatus.GATEWAY_TIMEOUT):
                self.breaker.discard(permit)
            else:
                ok = not isinstance(outcome, AppError) and outcome.status not in _BROKEN
                self.breaker.record(permit, ok, time.monotonic())
        return outcome


class ServicePool:
    """Requests go to the address with the least load among those whose breaker lets them through."""

    def __init__(self, name: str, addresses: Sequence[Address], admission: Admission) -> None:
        self.name = name
        self.addresses = tuple(addresses)
        self.admission = admission
        self._rotation = deque(addresses)
        self._retrying = 0
        self._waiting = Shares(_MOST_WAITING)

    async def request(self, call: Call) -> Reply:
        """Raises AppError: UNAVAILABLE if the service is overloaded, and what `ServiceClient.request` raises.

        That is OUTCOME_UNKNOWN for a call that was sent, may have changed something, and got no answer.
        """
        if call.extra_seconds:
            with self._place_to_wait(call.client):
                return await self._request(call)
        try:
            async with self.admission.acquire(call.client, call.slots) as slot:
                return await self._request(call, slot)
        except AppError as error:
            if call.method in SAFE or did_nothing(error):
                raise
            raise AppError(Code.OUTCOME_UNKNOWN) from error

    @asynccontextmanager
    async def stream(self, call: Call, quiet: float) -> AsyncIterator[aiohttp.ClientResponse]:
        """Like `ServiceClient.stream`. It is not retried, but aiohttp sends a `GET` again that broke at once."""
        with self._place_to_wait(call.client):
            address, permit = self._choose()
            async with AsyncExitStack() as stack:
                stream = address.client.stream(call.method, call.target, headers=call.headers, quiet=quiet)
                yield await address.ask(permit, call, stack.enter_async_context(stream))

    async def is_ready(self) -> bool:
        """Whether any address is ready. All are asked at once, so that one that hangs delays nothing."""
        checks = [asyncio.create_task(address.is_ready()) for address in self.addresses]
        try:
            for check in asyncio.as_completed(checks):
                if await check:
                    return True
            return False
        finally:
            for check in checks:
                check.cancel()

    async def look_for_those_away(self) -> None:
        """An address that was away is asked as soon as it is ready again, however long its breaker has yet to go."""
        away = [each for each in self.addresses if each.is_away]
        for address, is_back in zip(away, await asyncio.gather(*(each.is_ready() for each in away)), strict=True):
            if is_back:
                address.is_away = False
                address.breaker.try_now()

    @contextmanager
    def _place_to_wait(self, client: str) -> Iterator[None]:
        """Requests that wait for an event are no load for the service, so they have a bound of their own."""
        if not self._waiting.take(client):
            metrics.REFUSED.labels("waiting").inc()
            raise AppError(Code.UNAVAILABLE, f"Too many clients wait for {self.name}")
        try:
            yield
        finally:
            self._waiting.give_back(client)

    async def _request(self, call: Call, slot: Slot | None = None) -> Reply:
        """Retries once where that is safe and may help."""
        address, outcome = await self._try(call)
        in_flight = self.admission.in_flight + _MOST_WAITING - self._waiting.left
        if is_worth_repeating(call, outcome) and self._retrying < most_retries(in_flight):
            if slot is not None:
                slot.discard_sample()  # two tries with a pause between them are no latency
            outcome = await self._retry(call, outcome, address)
        if isinstance(outcome, AppError):
            raise outcome
        if slot is not None and outcome.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            slot.discard_sample()  # a failure can be fast because nothing was done
        return outcome

    async def _retry(self, call: Call, outcome: Reply | AppError, failed: Address) -> Reply | AppError:
        """The first `outcome`, from the address `failed`, stands if the deadline leaves no time for a retry.

        So it does if a change was refused the second time: the first time it may have been carried out.
        """
        self._retrying += 1
        try:
            delay = retry_delay()
            if delay >= deadline.left():
                return outcome
            metrics.RETRIES.labels(self.name).inc()
            await asyncio.sleep(delay)
            with suppress(AppError):  # every breaker is open
                _, repeated = await self._try(call, failed)
                if call.method in SAFE or not did_nothing(repeated):
                    return repeated
            return outcome
        finally:
            self._retrying -= 1

    async def _try(self, call: Call, failed: Address | None = None) -> tuple[Address, Reply | AppError]:
        """Where no connection is made nothing was sent, so the next address is asked at once, `failed` excepted.

        Raises AppError only if there is no address to try.
        """
        avoided = {failed} if failed else set()
        while True:
            address, permit = self._choose(avoided)
            sent = address.client.request(
                call.method, call.target, headers=call.headers, body=call.body, extra_seconds=call.extra_seconds
            )
            try:
                return address, await address.ask(permit, call, sent)
            except AppError as error:
                is_last = address in avoided or len(avoided) + 1 == len(self.addresses)
                if error.code is not Code.UNAVAILABLE or is_last:
                    return address, error
            avoided.add(address)

    def _choose(self, avoided: Collection[Address] = ()) -> tuple[Address, Permit]:
        """Addresses with equal load take turns, then those away, then `avoided` ones.

        Raises UNAVAILABLE if all breakers are open. While one is away, others recover faster, so that none is refused.
        """
        now = time.monotonic()
        self._rotation.rotate()
        others = sorted((each for each in self._rotation if each not in avoided), key=attrgetter("is_away", "load"))
        hurried = any(each.is_away for each in self.addresses)
        for address in (*others, *avoided):
            if permit := address.breaker.permit(now, hurried=hurried):
                return address, permit
        wait = min(address.breaker.retry_after(now) for address in self.addresses)
        metrics.REFUSED.labels("breaker").inc()
        message = f"{self.name} has failed too often and gets no requests for a while"
        raise AppError(Code.UNAVAILABLE, message, retry_after=math.ceil(wait) or 1)


SERVICES = web.AppKey("services", Mapping[str, ServicePool])


def open_service(name: str, urls: Sequence[str], client: Callable[[str, str], ServiceClient]) -> ServicePool:
    """Makes one address for each URL, and publishes their metrics."""
    addresses = [Address(client(name, url)) for url in urls]
    limit = ConcurrencyLimit()
    admission = Admission(name, limit, QueuePolicy())
    metrics.RETRIES.labels(name)
    metrics.IN_FLIGHT.labels(name).set_function(lambda: admission.in_flight)
    metrics.QUEUED.labels(name).set_function(lambda: admission.waiting)
    metrics.LIMIT.labels(name).set_function(lambda: limit.limit)
    for number, address in enumerate(addresses):
        metrics.watch_breaker(name, number, address.breaker)
    return ServicePool(name, addresses, admission)


def _is_leaving(outcome: Reply | aiohttp.ClientResponse | AppError) -> bool:
    """Whether the next request should go elsewhere: a process that stops closes a connection with its answer."""
    if isinstance(outcome, AppError):
        return outcome.code is Code.UNAVAILABLE
    return outcome.headers.get("Connection") == "close"


def most_retries(in_flight: int) -> int:
    """Retries at once: a fifth of the requests in flight, so that retries cannot multiply an overload."""
    return max(3, in_flight // 5)


def retry_delay() -> float:
    """Seconds, with full jitter, so that requests that failed together do not return together."""
    return random.uniform(_SHORTEST_DELAY, _LONGEST_DELAY)  # noqa: S311  # a delay, not a secret


def did_nothing(outcome: Reply | AppError) -> bool:
    """Whether the call was not sent, or refused. An error has no cause if there was no time to send it."""
    is_unsent = isinstance(outcome, AppError) and outcome.__cause__ is None
    return is_unsent or outcome.status == HTTPStatus.SERVICE_UNAVAILABLE


def is_worth_repeating(call: Call, outcome: Reply | AppError) -> bool:
    """Whether the failure may be over soon, and a retry cannot do the work twice."""
    if isinstance(outcome, Reply):
        connected, transient = True, outcome.status in _TRANSIENT
    else:
        connected, transient = outcome.code is not Code.UNAVAILABLE, outcome.code is not Code.UPSTREAM_TIMEOUT
    # Services of the release before look at the key of a POST only, and both run side by side in an upgrade.
    is_keyed = call.method == "POST" and IDEMPOTENCY_KEY in call.headers
    return transient and (not connected or call.method in SAFE or is_keyed)
