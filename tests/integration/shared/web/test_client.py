"""What `ServiceClient` makes of a service that answers with bytes of the test's choice, well or badly (RFC 9112)."""

import asyncio
import math
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass

import pytest
from aiohttp import ClientTimeout
from multidict import CIMultiDict

from shared import deadline, tracing
from shared.errors import AppError, Code
from shared.web import exchange
from shared.web.client import ServiceClient, service_clients
from shared.web.exchange import Exchange
from tests.api import port_of
from tests.traces import TRACE_ID, traceparent
from tests.waiting import eventually, reaches

OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = OK + b"Content-Length: 2\r\n\r\nok"
AGAIN = OK + b"Content-Length: 5\r\n\r\nagain"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\no\r\n1;ext=1\r\nk\r\n0\r\n"
TRACE = tracing.Trace(TRACE_ID, "b7ad6b7169203331", "01", "my-request", "a=1")
LITTLE = 0.2
FINE = (200, b"ok")
AFTERWARDS = (200, b"again")
# What a service does after the bytes of an answer.
KEEP, CLOSE, RESET, HANG, CLOSE_AT_NEXT = "keep", "close", "reset", "hang", "close at next"
AT_ONCE = 1 << 20
KEPT, CLOSED = 1, 2  # connections for two requests
BROKEN = (Code.UPSTREAM_ERROR, CLOSED)


@dataclass(frozen=True, slots=True)
class Case:
    """A service that sends these bytes and then does something, and what becomes of the request and its connection."""

    answer: bytes
    expected: tuple[tuple[int, bytes] | Code, int]
    method: str = "GET"
    then: str = HANG


CASES = {
    "length": Case(WHOLE, (FINE, KEPT), then=KEEP),
    "chunks": Case(CHUNKED + b"\r\n", (FINE, KEPT), then=KEEP),
    "trailer": Case(CHUNKED + b"X-Late: 1\r\n\r\n", (FINE, KEPT), then=KEEP),
    "HEAD": Case(WHOLE[:-2], ((200, b""), KEPT), "HEAD", KEEP),
    "HEAD of chunks": Case(CHUNKED[:47], ((200, b""), KEPT), "HEAD", KEEP),
    "204": Case(b"HTTP/1.1 204 None\r\n\r\n", ((204, b""), KEPT), then=KEEP),
    "304": Case(b"HTTP/1.1 304 Same\r\nContent-Length: 2\r\n\r\n", ((304, b""), KEPT), then=KEEP),
    "interim": Case(b"HTTP/1.1 103 \r\nX-Late: 1\r\n\r\n" * 2 + WHOLE, (FINE, KEPT), then=KEEP),
    "until close": Case(OK + b"\r\nok", (FINE, CLOSED), then=CLOSE),
    "HTTP/1.0": Case(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", (FINE, CLOSED)),
    "close": Case(OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nok", (FINE, CLOSED)),
    "none": Case(b"", BROKEN, then=CLOSE),
    "reset": Case(WHOLE[:-1], BROKEN, then=RESET),
    "foreign": Case(b"no HTTP\r\n\r\n", BROKEN),
    "half a head": Case(OK + b"X-Half", BROKEN, then=CLOSE),
    "short": Case(WHOLE[:-1], BROKEN, then=CLOSE),
    "short, in small letters": Case(WHOLE[:-1].replace(b"Content-L", b"content-l"), BROKEN, then=CLOSE),
    "no last chunk": Case(CHUNKED, BROKEN, then=CLOSE),
    "coding": Case(OK + b"Transfer-Encoding: gzip\r\n\r\nok", BROKEN, then=CLOSE),
    "interim alone": Case(b"HTTP/1.1 103 \r\n\r\n", BROKEN, then=CLOSE),
    "101": Case(b"HTTP/1.1 101 \r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", BROKEN),
    "long head": Case(OK + b"X-Much: 1\r\n" * 30, BROKEN),
    "long body": Case(OK + b"Content-Length: 999\r\n\r\n" + b"1" * 950, BROKEN),
}
# What comes behind an answer is seen if it comes with it.
CASES_AT_ONCE = {
    "two answers": Case(WHOLE + OK + b"X-Late: 1\r\n\r\n", (FINE, CLOSED)),
    "more bytes": Case(WHOLE + b"H", (FINE, CLOSED)),
    "no HTTP behind": Case(WHOLE + b"{}", (FINE, CLOSED)),
    "HEAD with what is no chunk": Case(CHUNKED[:47] + b"{}", ((200, b""), CLOSED), "HEAD"),
    "HEAD with a body": Case(WHOLE, ((200, b""), CLOSED), "HEAD"),
}


class Service:
    """Answers the first request with `answer` in pieces of `size`, then does what `then` says; `AGAIN` to others."""

    def __init__(self, answer: bytes, then: str = KEEP, *, size: int = AT_ONCE, early: bool = False) -> None:
        self._answer, self._then, self._size, self._early = answer, then, size, early
        self.writers: list[asyncio.StreamWriter] = []
        self.requests: list[bytes] = []
        self.ended = 0
        self.over = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if self._early and not self.requests:
                    self.requests.append(head)
                    writer.write(self._answer)
                    await self.over.wait()
                _, _, length = head.partition(b"Content-Length: ")
                self.requests.append(head + await reader.readexactly(int(length.split(b"\r\n")[0] or 0)))
                if len(self.requests) == 2 and self._then == CLOSE_AT_NEXT:
                    return
                if len(self.requests) > 1:
                    writer.write(AGAIN)
                    continue
                for start in range(0, len(self._answer), self._size):
                    writer.write(self._answer[start : start + self._size])
                    await asyncio.sleep(0)
                    await writer.drain()
                if self._then == RESET:
                    writer.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, bytes((1, *[0] * 7))
                    )
                if self._then in {CLOSE, RESET}:
                    return
                if self._then == HANG:
                    await reader.read()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self.ended += 1
            writer.close()


@asynccontextmanager
async def listening(service: Service) -> AsyncIterator[str]:
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        service.over.set()
        for writer in service.writers:
            writer.transport.abort()


@asynccontextmanager
async def calling(
    service: Service, *, total: float = 20.0, secrets: tuple[str, ...] = ()
) -> AsyncIterator[ServiceClient]:
    limits = ClientTimeout(total=total, connect=20.0)
    async with listening(service) as url, service_clients(limits, secrets) as client:
        yield client("orders", f"{url}/base/")


async def outcome(client: ServiceClient, method: str = "GET", extra_seconds: float = 0.0) -> tuple[int, bytes] | Code:
    try:
        reply = await client.request(method, "/orders", extra_seconds=extra_seconds)
    except AppError as error:
        return error.code
    assert "X-Late" not in reply.headers
    return reply.status, reply.body


@pytest.mark.parametrize(
    ("case", "size"),
    [
        *(pytest.param(case, AT_ONCE, id=name) for name, case in (CASES | CASES_AT_ONCE).items()),
        *(pytest.param(case, 1, id=f"{name}, byte by byte") for name, case in CASES.items()),
    ],
)
async def test_an_answer_is_read_whole_and_only_a_clean_one_leaves_a_connection_for_the_next(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, case: Case, size: int
) -> None:
    monkeypatch.setattr(exchange, "_MOST_OF_HEAD", 300)
    monkeypatch.setattr(exchange, "_MOST", 900)
    service = Service(case.answer, case.then, size=size)
    async with calling(service) as client:
        found = await outcome(client, case.method)
        again = await outcome(client)

    assert (found, len(service.writers)) == case.expected
    assert (again, len(service.requests), caplog.records) == (AFTERWARDS, 2, [])


async def test_a_request_is_sent_as_it_is_and_nothing_in_it_can_begin_another() -> None:
    service = Service(OK + b"X-Raw: \xff\r\nContent-Length: 0\r\n\r\n")
    headers = CIMultiDict([("If-Match", '"1"'), ("If-Match", '"\udcff"')])
    token = tracing.current.set(TRACE)
    try:
        async with calling(service, secrets=("s" * 16, "t" * 16)) as client:
            with deadline.until(60.0):
                reply = await client.request("POST", "/orders?limit=2", headers=headers, body=b"{}")
            await client.request("POST", "/orders/1/cancel")
            for name, value in (("X", "1\r\nY: 2"), ("X", "1\nY"), ("X\r", "1"), ("X", "\0")):
                with pytest.raises(ValueError, match="line break"):
                    await client.request("GET", "/orders", headers={name: value})
    finally:
        tracing.current.reset(token)

    assert reply.headers.getall("x-raw") == ["\udcff"]
    first, second = service.requests
    lines, _, milliseconds = first.partition(b"X-Request-Timeout-Ms: ")
    host = service.writers[0].get_extra_info("sockname")
    assert lines.decode(errors="surrogateescape").split("\r\n") == [
        "POST /base/orders?limit=2 HTTP/1.1",
        f"Host: {host[0]}:{host[1]}",
        f"X-Service-Secret: {'s' * 16}",
        'If-Match: "1"',
        'If-Match: "\udcff"',
        f"traceparent: {traceparent()}",
        "X-Request-ID: my-request",
        "tracestate: a=1",
        "",
    ]
    assert 50_000 < int(milliseconds.split(b"\r\n")[0]) < 60_000
    assert milliseconds.endswith(b"\r\nContent-Length: 2\r\n\r\n{}")
    assert second.endswith(b"\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_request_on_a_connection_that_the_service_closes_meanwhile_is_not_sent_again(method: str) -> None:
    service = Service(WHOLE, CLOSE_AT_NEXT)
    async with calling(service) as client:
        found = [await outcome(client, method) for _ in range(3)]

    assert found == [FINE, Code.UPSTREAM_ERROR, AFTERWARDS]
    assert (len(service.requests), len(service.writers)) == (3, 2)


@pytest.mark.parametrize("unasked", [AGAIN, b"H", b"\r\n", None], ids=["answer", "byte", "line", "end"])
async def test_a_connection_on_which_anything_comes_unasked_is_used_no_more(unasked: bytes | None) -> None:
    service = Service(WHOLE)
    async with calling(service) as client:
        await outcome(client)
        if unasked is not None:
            service.writers[0].write(unasked)
        else:
            service.writers[0].close()
        await reaches(lambda: (service.ended, client._idle), (1, []))
        again = await outcome(client)

    assert (again, len(service.writers)) == (AFTERWARDS, 2)


async def test_an_answer_that_comes_as_its_caller_is_cancelled_is_for_nobody() -> None:
    async with listening(Service(b"", HANG)) as url:
        port = port_of(url)
        _, made = await asyncio.get_running_loop().create_connection(lambda: Exchange([]), "127.0.0.1", port)
        call = asyncio.create_task(made.send(b"GET / HTTP/1.1\r\n\r\n", is_head=False, until=math.inf))
        await asyncio.sleep(0)
        call.cancel()
        made.data_received(WHOLE)
        await asyncio.wait({call})
        made.close()

    assert call.cancelled()


async def test_a_connection_that_is_lost_before_it_is_used_fails_at_once() -> None:
    service = Service(WHOLE)
    async with listening(service) as url:
        port = port_of(url)
        transport, made = await asyncio.get_running_loop().create_connection(lambda: Exchange([]), "127.0.0.1", port)
        await eventually(lambda: service.writers)
        service.writers[0].close()
        await eventually(transport.is_closing)
        async with asyncio.timeout(10.0):
            with pytest.raises(ConnectionError):
                await made.send(b"GET / HTTP/1.1\r\n\r\n", is_head=False, until=math.inf)


async def test_an_answer_that_comes_before_the_request_is_sent_stands_and_the_rest_is_not_sent() -> None:
    service = Service(WHOLE, early=True)
    async with calling(service) as client:
        reply = await client.request("POST", "/orders", body=b"1" * 50_000_000)
        again = await outcome(client)

    assert ((reply.status, reply.body), again, len(service.writers)) == (FINE, AFTERWARDS, 2)


async def test_a_caller_that_is_cancelled_takes_its_connection_along() -> None:
    service = Service(WHOLE[:-1], HANG)
    async with calling(service) as client:
        call = asyncio.create_task(outcome(client))
        await eventually(lambda: service.requests)
        call.cancel()
        await reaches(lambda: service.ended, 1)
        again = await outcome(client)

    assert (call.cancelled(), again, len(service.writers)) == (True, AFTERWARDS, 2)


@pytest.mark.parametrize("sent", [b"", WHOLE[:-1]], ids=["nothing", "a part"])
@pytest.mark.parametrize(
    ("total", "seconds", "extra"),
    [
        pytest.param(LITTLE, 60.0, 0.0, id="total"),
        pytest.param(60.0, LITTLE, 0.0, id="deadline"),
        pytest.param(60.0, LITTLE, 60.0, id="deadline of one that waits"),
        pytest.param(LITTLE / 2, 60.0, LITTLE / 2, id="wait"),
    ],
)
async def test_a_call_ends_with_its_time_and_so_does_its_connection(
    sent: bytes, total: float, seconds: float, extra: float
) -> None:
    service = Service(sent, HANG)
    async with calling(service, total=total) as client:
        began = time.monotonic()
        with deadline.until(seconds):
            found = await outcome(client, extra_seconds=extra)
        took = time.monotonic() - began
        await reaches(lambda: service.ended, 1)
        again = await outcome(client)

    assert (found, again) == (Code.UPSTREAM_TIMEOUT, AFTERWARDS)
    assert LITTLE - 0.01 < took < 10.0


async def test_a_connection_that_is_not_used_is_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "KEEPALIVE", LITTLE)
    service = Service(WHOLE)
    async with calling(service) as client:
        await outcome(client)
        before = service.ended
        await reaches(lambda: (service.ended, client._idle), (1, []))

    assert before == 0


async def test_a_connection_that_is_old_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a replica that is new behind the name gets requests too."""
    monkeypatch.setattr(exchange, "_LIFE", 0.0)
    service = Service(WHOLE)
    async with calling(service) as client:
        found = [await outcome(client) for _ in range(2)]

    assert (found, len(service.writers)) == ([FINE, AFTERWARDS], 2)


async def test_connections_go_to_all_addresses_of_a_name_that_take_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not to the first or the nearest alone. Nobody listens at the third."""
    first, second = Service(WHOLE), Service(WHOLE)

    def look_up(name: str, port: int, *_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{last}", port)) for last in (1, 2, 3)]

    async with listening(first) as url:
        port = port_of(url)
        server = await asyncio.start_server(second.serve, "127.0.0.2", port)
        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        limits = ClientTimeout(total=20.0, connect=20.0)
        async with server, service_clients(limits) as clients:
            client = clients("orders", f"http://orders.test:{port}")
            found = await asyncio.gather(*(outcome(client) for _ in range(40)))

    assert set(found) == {FINE, AFTERWARDS}
    assert min(len(first.writers), len(second.writers)) > 0
    assert len(first.writers) + len(second.writers) == 40


async def test_the_connection_that_was_used_last_is_used_next() -> None:
    """So that those that are too many become idle, and end."""
    service = Service(WHOLE)
    async with calling(service) as client:
        await asyncio.gather(*(outcome(client) for _ in range(5)))
        kept = list(client._idle)
        for _ in range(2):
            await outcome(client)
        still_kept = list(client._idle)

    assert (len(service.writers), len(kept), still_kept) == (5, 5, kept)


@pytest.mark.parametrize(
    ("connect", "seconds", "expected"),
    [(LITTLE, 60.0, Code.UNAVAILABLE), (60.0, LITTLE, Code.UPSTREAM_TIMEOUT)],
    ids=["connection", "call"],
)
async def test_a_service_that_takes_no_connection_is_unavailable_if_the_call_had_the_time(
    connect: float, seconds: float, expected: Code
) -> None:
    with closing(socket.socket()) as full, closing(socket.socket()) as first, closing(socket.socket()) as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):  # as many as the kernel keeps; it passes over others
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        limits = ClientTimeout(total=60.0, connect=connect)
        async with service_clients(limits) as client:
            with deadline.until(seconds):
                found = await outcome(client("orders", f"http://127.0.0.1:{full.getsockname()[1]}"))

    assert found == expected


async def test_nothing_is_said_in_clear_to_a_service_with_tls() -> None:
    heard = bytearray()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.read(1000))
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    limits = ClientTimeout(total=20.0, connect=20.0)
    async with server, service_clients(limits, ("s" * 16,)) as client:
        found = await outcome(client("orders", f"https://localhost:{server.sockets[0].getsockname()[1]}"))

    assert (found, bytes(heard[:2]), b"localhost" in heard, b"ssss" in heard) == (
        Code.UNAVAILABLE,
        b"\x16\x03",
        True,
        False,
    )
