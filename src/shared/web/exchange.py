"""A connection of a client: a request is one write, its answer is read whole, and then it is kept for the next."""

import asyncio
import math
import time
from dataclasses import dataclass
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from multidict import CIMultiDict, CIMultiDictProxy

# Seconds without a request; shorter than `ServerLimits.idle`, so that nothing is sent into a closing connection.
KEEPALIVE = 30.0
# Seconds of use; then another one is made, perhaps to a replica that is new behind the name.
_LIFE = 60.0
# Bytes. A page of 100 orders with 100 lines each has some three million.
_MOST_OF_HEAD = 32 * 1024
_MOST = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """What an upstream answered, read whole."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes


class Exchange(asyncio.Protocol):
    """Stands in `idle` while it may be sent a request. One timer serves for the whole life of the connection."""

    def __init__(self, idle: "list[Exchange]") -> None:
        self._idle = idle
        self._loop = asyncio.get_running_loop()
        self._parser = HttpResponseParser(self)
        self._waiter: asyncio.Future[Reply] | None = None

    async def send(self, request: bytes, *, is_head: bool, until: float) -> Reply:
        """The answer has to be whole at `until` by the monotonic clock.

        Raises TimeoutError, and ConnectionError if it breaks off or is not HTTP; these and a cancellation close it.
        """
        if self._transport.is_closing():
            raise ConnectionError("The connection was closed before it was used")
        self._is_head = is_head
        self._status = self._size = 0
        self._is_whole = self._is_clean = False
        self._headers: CIMultiDict[str] = CIMultiDict()
        self._body: list[bytes] = []
        waiter: asyncio.Future[Reply] = self._loop.create_future()
        self._waiter = waiter
        self._transport.write(request)
        self._limit(until)
        try:
            return await waiter
        finally:
            if self._waiter is waiter:  # cancelled; otherwise the connection may have its next request by now
                self.close()

    def close(self) -> None:
        if self in self._idle:
            self._idle.remove(self)
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transport does not derive from it
        self._made = time.monotonic()
        self._until = self._fires = self._made + KEEPALIVE
        self._timer = self._loop.call_later(KEEPALIVE, self._check)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(ConnectionError(f"The connection was lost: {exc!r}"))
        self._timer.cancel()

    def eof_received(self) -> None:
        """Ends an answer that says nothing of its length (RFC 9112 §6.3)."""
        has_length = not self._waiter or "Content-Length" in self._headers or "Transfer-Encoding" in self._headers
        is_whole = not has_length and self._status
        self._end(None if is_whole else ConnectionError("The connection was closed before the answer was whole"))

    def data_received(self, data: bytes) -> None:
        if self._waiter is None:
            self.close()  # nobody has asked
            return
        self._size += len(data)
        error: Exception | None = None
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as problem:
            error, self._is_clean = ConnectionError(repr(problem)), False
        if self._is_whole:
            self._end(None)
        elif error or self._size > (_MOST if self._status else _MOST_OF_HEAD):
            self._end(error or ConnectionError("The answer is too large"))

    def on_message_begin(self) -> None:
        self._is_clean = not self._is_whole  # another answer behind the one that was asked for

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._status:  # otherwise it is a trailer, which is not to be merged (RFC 9110 §6.5.1)
            self._headers.add(name.decode(), value.decode(errors="surrogateescape"))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status // 100 == 1:
            self._headers.clear()  # an interim answer is passed over (RFC 9110 §15.2)
        elif not self._is_whole:
            self._status, self._is_clean = status, self._parser.should_keep_alive()
            self._is_whole = self._is_head

    def on_body(self, data: bytes) -> None:
        if self._is_whole:
            self._is_clean = False  # an answer to HEAD has none (RFC 9110 §9.3.2)
        else:
            self._body.append(data)

    def on_message_complete(self) -> None:
        self._is_whole = self._status > 0

    def _end(self, error: Exception | None) -> None:
        waiter, self._waiter = self._waiter, None
        is_over = error or not self._is_clean or time.monotonic() - self._made > _LIFE
        if is_over or self._transport.get_write_buffer_size():  # the rest of the request is in vain
            self.close()
        else:
            self._idle.append(self)
            self._limit(time.monotonic() + KEEPALIVE)
            if self._is_head:
                self._parser = HttpResponseParser(self)  # the old one waits for a body
        if waiter is not None and not waiter.done():
            if error:
                waiter.set_exception(error)
            else:
                waiter.set_result(Reply(self._status, CIMultiDictProxy(self._headers), b"".join(self._body)))

    def _limit(self, when: float) -> None:
        """The connection ends `when`, unless this is called again. A timer that fires earlier stays as it is."""
        self._until = when
        if when < self._fires:
            self._timer.cancel()
            self._fires = when
            self._timer = self._loop.call_later(when - time.monotonic(), self._check)

    def _check(self) -> None:
        self._fires = math.inf
        if time.monotonic() < self._until:
            self._limit(self._until)
        else:
            self._end(TimeoutError())
