"""One address of a service, as the gateway sees it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.upstream.breaker import Breaker, Permit
from shared.errors import AppError
from shared.web.client import ServiceClient


class Attempt:
    """A request at an address; tells its breaker once how it went."""

    __slots__ = ("_breaker", "_permit", "told")

    def __init__(self, breaker: Breaker, permit: Permit) -> None:
        self._breaker = breaker
        self._permit = permit
        self.told = False

    def tell(self, ok: bool) -> None:
        """`ok` is that the address answered, and not with a failure of its own."""
        self.told = True
        self._breaker.record(self._permit, ok, time.monotonic())

    def forget(self) -> None:
        """Nothing is known of the address: the client gave up."""
        self.told = True
        self._breaker.forget(self._permit)


class Address:
    """A process of the service, or several behind one name."""

    def __init__(self, upstream: ServiceClient) -> None:
        self.upstream = upstream
        self.breaker = Breaker()
        self.load = 0

    async def is_ready(self) -> bool:
        """Not if it cannot be asked either."""
        try:
            return await self.upstream.is_ready()
        except AppError:
            return False

    @contextmanager
    def attempt(self, permit: Permit, *, waits: bool) -> Iterator[Attempt]:
        """One that ends untold has failed, unless its client has left; one that `waits` by intention is no load."""
        attempt = Attempt(self.breaker, permit)
        self.load += not waits
        try:
            yield attempt
        except AppError:
            if not attempt.told:
                attempt.tell(ok=False)
            raise
        finally:
            self.load -= not waits
            if not attempt.told:
                attempt.forget()
