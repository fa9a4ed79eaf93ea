"""One connection: what aiohttp leaves open about bad requests, slow peers, and those who have gone."""

import asyncio
import math
import re
from collections.abc import Coroutine
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, cast

import structlog
from aiohttp import web
from aiohttp.http_exceptions import BadStatusLine, ContentEncodingError, HttpProcessingError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

# Private, as is the queue that it goes into: there is no other way to have a refusal answered in its turn.
from aiohttp.web_protocol import _ErrInfo

from shared.errors import AppError, Code
from shared.web.middleware import SAFE, error_of
from shared.web.requests import holds_back
from shared.web.responses import refuse


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Seconds, bytes and numbers past which a peer is not served."""

    head: float = 10.0
    body: float = 10.0
    # Longer than any client of ours keeps an idle connection (shared.web.client).
    idle: float = 75.0
    write: float = 30.0
    linger: float = 2.0
    sweep: float = 1.0
    connections: int = 2_000
    head_bytes: int = 32 * 1024
    # Not the same, because the parser tells by the number alone which of the two was exceeded.
    line_bytes: int = 8_192
    field_bytes: int = 8_190
    fields: int = 100


log = structlog.get_logger()

_Finished = tuple[web.StreamResponse, bool]

_NEVER = math.inf
_START_BYTES = 100
_START = re.compile(rb"([A-Za-z-]{1,16}) (/[!->@-~]{0,63})")
_UNKNOWN = ("-", "-")
_LAST = MappingProxyType({"Connection": "close"})


class RefusedError(HttpProcessingError):
    """Of ours, in the place of the parser's."""

    def __init__(self, error: AppError) -> None:
        super().__init__(code=error.status, message=error.message)
        self.error = error


def excerpt(start: bytes) -> tuple[str, str]:
    """What of the start of a request may be logged: method and path, cut short, without the query."""
    match = _START.match(start)
    return (match[1].decode(), match[2].decode()) if match else _UNKNOWN


def error_from(error: HttpProcessingError, limits: ServerLimits) -> AppError:
    """What a refusal by the parser is to a client: RFC 9110 §15, RFC 6585 §5."""
    if isinstance(error, RefusedError):
        return error.error
    if isinstance(error, LineTooLong) and error.args[1] == limits.line_bytes:
        return AppError(Code.URI_TOO_LONG, "The request target is too long")
    if isinstance(error, LineTooLong) or "Too many headers" in error.message:
        return AppError(Code.HEADERS_TOO_LARGE, "The headers are too many or too long")
    if isinstance(error, ContentEncodingError):
        return AppError(Code.UNSUPPORTED_MEDIA_TYPE, "The content coding is not supported")
    if "Pause on PRI" in error.message or (isinstance(error, BadStatusLine) and "HTTP version" in error.message):
        return AppError(Code.HTTP_VERSION_NOT_SUPPORTED, "The server speaks HTTP/1.1")
    return AppError(Code.VALIDATION_ERROR, "The request is not valid HTTP/1.1")


def bad_body() -> AppError:
    """Of a body whose end cannot be found any more."""
    return AppError(Code.VALIDATION_ERROR, "The body is not framed or encoded as it says", headers=_LAST)


def late_body() -> AppError:
    return AppError(Code.REQUEST_TIMEOUT, "The body did not arrive in time", headers=_LAST)


class Registry(Protocol):
    """Of the open connections."""

    def admit(self, connection: "Connection") -> bool: ...

    def leave(self, connection: "Connection") -> None: ...


class Connection(web.RequestHandler):
    """Its `Registry` calls `check` again and again: no timer or task per connection."""

    __slots__ = (
        "_began",
        "_body",
        "_due",
        "_gone",
        "_limits",
        "_refused",
        "_registry",
        "_size",
        "_stuck",
        "_wire",
    )

    def __init__(
        self,
        server: web.Server,
        registry: Registry,
        limits: ServerLimits,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # as web.AppRunner documents it
            keepalive_timeout=limits.idle,
            lingering_time=limits.body,
            max_line_size=limits.line_bytes,
            max_field_size=limits.field_bytes,
            max_headers=limits.fields,
        )
        self._registry = registry
        self._limits = limits
        self._wire: asyncio.Transport | None = None
        self._due = _NEVER  # until then the head or the body at hand has to be complete
        self._stuck = _NEVER  # until then the peer has to read
        self._began = b""  # the start of the head at hand
        self._size = 0  # of the head at hand
        self._body: StreamReader | None = None  # at hand
        self._refused = False
        self._gone: asyncio.Future[None] | None = None

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        wire = cast("asyncio.Transport", transport)  # uvloop's has no such base
        if not self._registry.admit(self):
            wire.abort()
            return
        self._wire = wire
        self._due = self._loop.time() + self._limits.head
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._wire is None:
            return
        self._registry.leave(self)
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
        handler = self._task_handler
        super().connection_lost(exc)
        if handler is not None and not handler.done():
            # A request that has arrived together with the end is only then begun.
            self._loop.call_soon(self._let_go, handler)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        requests = self._request_count
        super().data_received(data)
        if self._request_count != requests:
            self._advance(data)
        elif self._body is not None:
            if self._body.is_eof():
                self._body = None
                self._due = _NEVER
        elif data:
            self._continue_head(data)

    def pause_writing(self) -> None:
        self._stuck = self._loop.time() + self._limits.write
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stuck = _NEVER
        super().resume_writing()

    # What aiohttp calls.

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, _Finished]:
        if isinstance(resp, web.HTTPException):  # raised before any middleware was asked
            resp = refuse(error_of(resp), request.method, request.path)
        if self._body is not None and holds_back(request):
            self._break_off(self._body)  # nobody has asked for it
        if self._close:
            resp.force_close()  # the client is told that this is the last one, RFC 9112 §9.6
        answer = super().finish_response(request, resp, start_time)
        return self._linger(answer) if self._refused and not self._messages else answer

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, HttpProcessingError):
            return refuse(error_from(exc, self._limits), *excerpt(self._began))
        log.error("request crashed", method=request.method, path=request.path, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("The answer has begun")
        return refuse(AppError(Code.INTERNAL_ERROR, "unexpected error"), request.method, request.path)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        if not isinstance(kw.get("exc_info"), (web.RequestPayloadError, AppError)):  # of a body that nobody reads
            super().log_exception(*args, **kw)

    # What the registry calls.

    def check(self, now: float) -> None:
        """Ends what has taken too long."""
        if self._wire is None:
            return
        if now >= self._stuck:
            self._wire.abort()
        elif self._stuck == _NEVER and self._wire.is_closing():
            self._stuck = now + self._limits.write  # the peer has to read the rest
        if now < self._due:
            return
        self._due = _NEVER
        if self._body is not None:
            self._break_off(self._body, late_body())
        elif self._began:
            self._refuse(AppError(Code.REQUEST_TIMEOUT, "The request did not arrive in time"))
        else:
            self.force_close()

    # Progress of the request at hand.

    def _advance(self, data: bytes) -> None:
        """At least one head is complete, or cannot be one."""
        message, payload = self._messages[-1]
        if isinstance(message, _ErrInfo):
            self._refused = True
            self._due = _NEVER
            if self._body is None:
                self._began = self._began or data[:_START_BYTES]
            elif not self._body.is_eof():
                self._messages.pop()
                self._break_off(self._body, bad_body())
            return
        self._began = b""
        self._size = 0
        if payload.is_eof():
            self._body = None
            self._due = _NEVER
        else:
            self._body = payload
            self._due = self._loop.time() + self._limits.body

    def _continue_head(self, data: bytes) -> None:
        if not self._began:
            self._began = data[:_START_BYTES]
            self._due = min(self._due, self._loop.time() + self._limits.head)
        self._size += len(data)
        if self._size > self._limits.head_bytes:
            self._refuse(AppError(Code.HEADERS_TOO_LARGE, "The head of the request is too large"))

    def _refuse(self, error: AppError) -> None:
        """Behind the answers to earlier requests, if there are any."""
        self._refused = True
        self._messages.append((_ErrInfo(error.status, RefusedError(error), error.message), EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _break_off(self, body: StreamReader, error: AppError | None = None) -> None:
        """Nothing more is read; whoever reads the body gets the error, and the answer is the last one."""
        self._refused = True
        self._body = None
        self._due = _NEVER
        if error is not None and body.exception() is None:
            body.set_exception(error)
        body.feed_eof()
        self.close()

    async def _linger(self, answer: Coroutine[Any, Any, _Finished]) -> _Finished:
        """RFC 9112 §9.6: closed at once, with bytes still on their way to us, the peer might never read the answer."""
        finished = await answer
        if self.transport is not None:
            self.transport.write_eof()
            self._gone = self._loop.create_future()
            await asyncio.wait({self._gone}, timeout=self._limits.linger)
        return finished

    def _let_go(self, handler: "asyncio.Task[None]") -> None:
        """A read whose client has gone ends; a write that has begun goes on."""
        request = self._current_request
        if request is not None and request.method in SAFE:
            handler.cancel()
