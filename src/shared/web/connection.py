"""One client connection: it limits slow and vanished peers, and answers bad requests in the envelope."""

import asyncio
import math
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, cast

import structlog
from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.http_exceptions import BadStatusLine, ContentEncodingError, HttpProcessingError, LineTooLong
from aiohttp.streams import StreamReader

from shared import logs, metrics, tracing
from shared.errors import AppError, Code
from shared.web.requests import holds_back, unsupported_coding
from shared.web.responses import MOST_PATH, error_of, refusal

log = structlog.get_logger()

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110 §9.2.1
_SPOKEN = (HttpVersion11, HttpVersion10)
_NEVER = math.inf
_END_OF_HEAD = b"\r\n\r\n"
_INVALID = b"\0"  # in no part of a head is this byte allowed
_START = re.compile(rb"([A-Za-z-]{1,16}) (/[!->@-~]{0,63})")
_ORIGIN = re.compile(rb"\r\norigin:[ \t]*([!-~]{1,255})[ \t]*\r\n", re.IGNORECASE)
_UNKNOWN = ("-", "-")

Prepare = Callable[[web.Request, web.StreamResponse], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Seconds, bytes and numbers that a peer may use; `idle` exceeds `shared.web.exchange.KEEPALIVE`.

    `body_bytes` are those of a body on the wire, with its chunks, and `unread` those that are received ahead. A peer
    that has been refused may go on sending for `linger` seconds; no more than `lingering` of them are read.
    """

    head: float = 10.0
    body: float = 10.0
    idle: float = 75.0
    write: float = 30.0
    linger: float = 2.0
    lingering: int = 64
    sweep: float = 1.0
    connections: int = 2_000
    settled: float = 5.0
    head_bytes: int = 32 * 1024
    body_bytes: int = 128 * 1024
    unread: int = 8 * 1024
    # The two differ because the parser's error carries nothing but the number of the limit that was exceeded.
    line_bytes: int = 8_192
    field_bytes: int = 8_190
    fields: int = 100


class Connection(web.RequestHandler):
    """Stands in `idle` while it serves no request; its owner calls `check` every `ServerLimits.sweep` seconds.

    That sweep starts and enforces every limit of time, so no connection has a timer.
    """

    def __init__(
        self,
        server: web.Server,
        idle: "dict[Connection, float]",
        lost: "Callable[[Connection], None]",
        limits: ServerLimits,
        prepare: Prepare,
        *,
        lingering: "set[Connection]",
    ) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # as web.AppRunner documents it
            keepalive_timeout=limits.idle,
            lingering_time=limits.body,
            max_line_size=limits.line_bytes,
            max_field_size=limits.field_bytes,
            max_headers=limits.fields,
            read_bufsize=limits.unread // 4,  # what has come is held, and nothing more is received until it is read
        )
        self.idle = idle
        self._lost = lost
        self._lingering = lingering  # those of the listener that have been refused, and may still be read
        self._limits = limits
        self._prepare = prepare  # adds the headers of every answer to one that reached no application
        self._wire: asyncio.Transport | None = None  # `transport` is None as soon as the connection is closing
        self._start = b""  # the first bytes that arrived since a request began
        self._size = 0  # how many bytes arrived of the head, or of the body behind it
        self._body: StreamReader | None = None  # of the last request, until all of it has arrived
        self._busy = False  # a request is being handled or answered
        self._kept_alive = False  # aiohttp limits the time until the next request
        self._deadline = _NEVER  # for the head or the body that is arriving
        self._write_deadline = _NEVER
        self._refusal: AppError | None = None  # answers the head that is arriving
        self._refused = False  # nothing more is read
        self._closing = False
        self._reading_held = False
        self._task: asyncio.Task[Any] | None = None  # handles a safe request
        self._gone: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast("asyncio.Transport", transport)  # uvloop's transport does not derive from it
        self.idle[self] = time.monotonic()
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._lost(self)
        self._lingering.discard(self)
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
        super().connection_lost(exc)
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._size += len(data)
        if self._refused:
            if self._wire is not None and (self._size > self._limits.body_bytes or self not in self._lingering):
                self._reading_held = True
                self._wire.pause_reading()  # a peer that goes on sending costs nothing more
            return
        if self._body is not None and self._body.is_eof():
            self._body = None
            self._deadline = _NEVER
            self._size = len(data)
        if self._body is not None:
            if self._size > self._limits.body_bytes:
                self._break_off(self._body, AppError(Code.PAYLOAD_TOO_LARGE))
                return
        else:
            self._start = self._start or data[: self._limits.head_bytes]
            is_whole = self._size > self._limits.unread // 4 and _END_OF_HEAD in self._start
            if (is_whole or self._size > self._limits.head_bytes) and self.transport is not None:
                self._reading_held = True  # until `begin` shows that this is more than a head
                self.transport.pause_reading()
        super().data_received(data)

    def resume_writing(self) -> None:
        self._write_deadline = _NEVER
        super().resume_writing()

    def close(self) -> None:
        self._closing = True
        super().close()

    def begin(self, request: web.BaseRequest) -> None:
        """The outermost middleware reports that a request has arrived.

        Cancels the current task when the client leaves before the answer, if the request is safe (RFC 9110 §9.2.1).
        Raises AppError if the request was refused before its head was complete.
        """
        if self._refusal is not None:
            raise self._refusal
        self.idle.pop(self, None)
        self._busy = self._kept_alive = True
        self._start = b""
        self._deadline = _NEVER
        content = request.content
        self._body = None if content.is_eof() else content
        self._size = 0
        if self._reading_held:
            self._reading_held = False
            self.resume_reading()
        if request.method in SAFE:
            self._task = asyncio.current_task()
            if self.transport is None and self._task is not None:
                self._task.cancel()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        self._task = None
        if isinstance(resp, web.HTTPException):  # aiohttp raised it before it called any middleware
            resp = _refuse(request, error_of(resp), request.method, request.path)
        if holds_back(request) or (self._closing and not request.content.is_eof()):
            self._break_off(request.content)  # it was not asked for, or nobody will read it
        if self._closing:
            resp.force_close()  # and says so to the client: RFC 9112 §9.6
        is_foreign = self._refusal is not None or request.version not in _SPOKEN
        if is_foreign and isinstance(resp, web.Response):
            if not request.headers and (origin := _ORIGIN.search(self._start)):
                request = request.clone(headers={"Origin": origin[1].decode()})
            await self._prepare(cast("web.Request", request), resp)
            await _send_unrouted(request, resp)
            finished: tuple[web.StreamResponse, bool] = resp, False
        else:
            finished = await super().finish_response(request, resp, start_time)
        self._busy = False
        if self.transport is not None:
            self.idle[self] = time.monotonic()
        if self._refused:
            await self._linger()
        return finished

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, HttpProcessingError):
            self._refusal = self._refusal or error_from(exc, self._limits)
            self._refused = True
        if self._refusal is not None:
            return _refuse(request, self._refusal, *excerpt(self._start))
        log.error("request crashed", method=request.method, path=request.path[:MOST_PATH], exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("The answer has begun")
        return _refuse(request, AppError(Code.INTERNAL_ERROR), request.method, request.path)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Leaves out errors of a body that no handler reads."""
        if not isinstance(kw.get("exc_info"), (web.RequestPayloadError, AppError)):
            super().log_exception(*args, **kw)

    def check(self, now: float) -> None:
        """Ends what has taken too long."""
        self._check_writing(now)
        if self._refused:
            return
        body = None if self._body is None or self._body.is_eof() else self._body
        if body is None and (self._busy or (self._kept_alive and not self._start)):
            return
        if self._deadline == _NEVER:
            self._deadline = now + (self._limits.head if body is None else self._limits.body)
        elif body is None and self._size > self._limits.head_bytes and _END_OF_HEAD not in self._start:
            self._refuse_head(AppError(Code.HEADERS_TOO_LARGE, "The head of the request is too large"))
        elif now < self._deadline:
            pass
        elif body is not None:
            self._break_off(body, AppError(Code.REQUEST_TIMEOUT, "The body did not arrive in time"))
        elif self._start:
            self._refuse_head(AppError(Code.REQUEST_TIMEOUT))
        else:
            self.force_close()

    def _check_writing(self, now: float) -> None:
        if self._wire is None or not (self.writing_paused or self._wire.is_closing()):
            return
        if self._write_deadline == _NEVER:
            self._write_deadline = now + self._limits.write
        elif now >= self._write_deadline:
            self._wire.abort()

    def _refuse_head(self, error: AppError) -> None:
        """Makes the parser fail, so that aiohttp asks `handle_error` for an answer."""
        self._refusal = error
        super().data_received(_INVALID)
        self._refused = True

    def _break_off(self, body: StreamReader, error: AppError | None = None) -> None:
        """Reads nothing more and closes after the answer; a handler that reads the body gets the error."""
        self._refused = True
        if error is not None and body.exception() is None:
            body.set_exception(error)
        body.feed_eof()
        self.close()

    async def _linger(self) -> None:
        """Lets the peer read the answer while bytes of its request are still on their way: RFC 9112 §9.6."""
        if self.transport is not None:
            self.transport.write_eof()
            if len(self._lingering) < self._limits.lingering:
                self._lingering.add(self)
                if self._reading_held:
                    self.transport.resume_reading()
            await self.hold(self._limits.linger)

    async def hold(self, seconds: float) -> None:
        """Waits for so long, or until the peer has left: nothing of it is kept then."""
        if self.transport is not None:
            self._gone = asyncio.get_running_loop().create_future()
            await asyncio.wait({self._gone}, timeout=seconds)


def _refuse(request: web.BaseRequest, error: AppError, method: str, path: str) -> web.Response:
    """The last answer of its connection, to a request that reached no middleware."""
    here = tracing.begin()
    tracing.current.set(here)
    logs.about.set({"client": request.remote or ""})  # the peer: what it says of others was not read
    metrics.observe_request("(any)", "(none)", error.status, 0.0, here.trace_id)
    log.info("request refused", method=method, path=path[:MOST_PATH], status=error.status, code=error.code)
    response = refusal(request, error, path)
    response.headers["X-Request-ID"] = here.request_id
    response.force_close()
    return response


async def _send_unrouted(request: web.BaseRequest, response: web.Response) -> None:
    """Sends an answer that reached no application: `web.Response` itself would name the server software."""
    body = response.body if isinstance(response.body, bytes) else b""
    response.headers["Connection"] = "close"  # RFC 9112 §9.6
    response.headers["Content-Length"] = str(len(body))
    response.headers["Date"] = format_datetime(datetime.now(UTC), usegmt=True)
    # The server's own version, since the parser has not got to the peer's: RFC 9110 §6.2.
    await request.writer.write_headers(f"HTTP/1.1 {response.status} {response.reason}", response.headers)
    await request.writer.write_eof(b"" if request.method == "HEAD" else body)


def excerpt(start: bytes) -> tuple[str, str]:
    """The method and the path that may be logged of a request that starts like this: cut short, without the query."""
    match = _START.match(start)
    return (match[1].decode(), match[2].decode()) if match else _UNKNOWN


def error_from(error: HttpProcessingError, limits: ServerLimits) -> AppError:
    """Maps an error of the parser to the one that the client sees: RFC 9110 §15, RFC 6585 §5."""
    if isinstance(error, LineTooLong) and error.args[1] == limits.line_bytes:
        return AppError(Code.URI_TOO_LONG)
    if isinstance(error, LineTooLong) or "Too many headers" in error.message:
        return AppError(Code.HEADERS_TOO_LARGE, "The headers are too many or too long")
    if isinstance(error, ContentEncodingError):
        return unsupported_coding()
    if "Pause on PRI" in error.message or (isinstance(error, BadStatusLine) and "HTTP version" in error.message):
        return AppError(Code.HTTP_VERSION_NOT_SUPPORTED)
    return AppError(Code.VALIDATION_ERROR, "The request is not valid HTTP/1.1")
