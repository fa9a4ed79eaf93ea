"""What peers do wrong at the socket, and what becomes of them."""

import asyncio
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from shared.web import middleware
from shared.web.connection import ServerLimits
from shared.web.connections import Connections
from shared.web.server import application, raise_open_files, serving
from tests.api import Answer
from tests.integration.shared.web.malformed import CASES, HOST, SECOND, chunked, get, post
from tests.integration.shared.web.raw import Peer, connected
from tests.waiting import eventually

SHORT = ServerLimits(head=0.2, body=0.2, idle=0.6, write=0.3, linger=0.2, sweep=0.02)
# For tests that are not about time: more of it than a busy machine loses.
PATIENT = replace(SHORT, head=10.0, body=2.0, idle=10.0, linger=5.0)
GOOD = get(HOST, b"/ignore")
WAIT = get(HOST, b"/wait")
TOO_SLOW = (408, "request_timeout", "close", b"")


@dataclass(slots=True)
class Site:
    """An application that notes the requests that reached a handler, and how those ended that wait or flood."""

    port: int = 0
    seen: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    connections: Connections | None = None

    async def echo(self, request: web.Request) -> web.Response:
        self.seen.append(f"{request.method} {request.raw_path}")
        return web.Response(body=await request.read())

    async def ignore(self, request: web.Request) -> web.Response:
        """Does not read the body."""
        self.seen.append(f"{request.method} {request.raw_path}")
        return web.Response(body=b"ignored")

    async def wait(self, request: web.Request) -> web.Response:
        """Reads the body, then waits for `go`."""
        response = await self.echo(request)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        self.ended.append("answered")
        return response

    async def flood(self, request: web.Request) -> web.StreamResponse:
        """Writes until the peer has gone."""
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65_536)
        finally:
            self.ended.append("flood")

    def is_empty(self) -> bool:
        return self.connections is not None and len(self.connections) == 0


@asynccontextmanager
async def site(limits: ServerLimits = SHORT) -> AsyncIterator[Site]:
    site = Site()
    app = application(middleware.trace, middleware.errors)
    for name in ("echo", "ignore", "wait", "flood"):
        app.router.add_route("*", f"/{name}", getattr(site, name))
    async with serving(app, limits) as site.connections:
        site.port = await site.connections.listen("127.0.0.1", 0)
        yield site


async def ask(here: Site, *pieces: bytes) -> tuple[Answer, bytes]:
    """The answer to what these pieces are, and what comes behind it until the server closes the connection."""
    async with connected(here.port) as peer:
        for piece in pieces:
            peer.send(piece)
            await asyncio.sleep(0.01)  # so that a piece is likely to be a segment of its own
        return await peer.reply(), await peer.rest()


@pytest.fixture
async def here() -> AsyncIterator[Site]:
    async with site() as here:
        yield here


@pytest.fixture
async def patient() -> AsyncIterator[Site]:
    async with site(PATIENT) as patient:
        yield patient


async def is_served(here: Site) -> bool:
    async with connected(here.port) as peer:
        peer.send(GOOD)
        try:
            return (await peer.reply()).raw == b"ignored"
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return False


@pytest.mark.parametrize(("request_", "status", "code"), CASES, ids=[ascii(case[0])[2:80] for case in CASES])
async def test_nothing_after_a_bad_request_is_read(patient: Site, request_: bytes, status: int, code: str) -> None:
    # The parser itself refuses what comes after another version.
    following = b"" if status == 505 else SECOND
    for pieces in ([request_ + following], [request_[:-1], request_[-1:] + following]):
        reply, rest = await ask(patient, *pieces)
        assert (reply.status, reply.code, reply.is_envelope, rest) == (status, code, True, b"")

    assert "GET /echo?smuggled" not in patient.seen
    assert await is_served(patient)


@pytest.mark.parametrize(
    ("request_", "method", "path"),
    [
        (get(HOST + b"X-Secret: hunter2\0\r\n", b"/echo?token=hunter2"), "GET", "/echo"),
        (b"hunter2 is my password\r\n\r\n", "-", "-"),
    ],
)
async def test_a_refusal_is_logged_without_secrets(patient: Site, request_: bytes, method: str, path: str) -> None:
    with capture_logs() as lines:
        reply, _ = await ask(patient, request_)

    shown = {"method": method, "path": path, "status": 400, "code": "validation_error"}
    assert lines == [{"event": "request refused", "log_level": "info", **shown}]
    assert b"hunter2" not in reply.raw
    assert reply.body["path"] == path
    assert reply.headers["x-request-id"]


async def test_a_long_path_is_cut_in_answer_and_log(patient: Site) -> None:
    with capture_logs() as lines:
        reply, _ = await ask(patient, get(HOST + b"Connection: close\r\n", b"/" + b"x" * 7_000))

    assert (reply.status, reply.body["path"]) == (404, "/" + "x" * 255)
    assert [line["path"] for line in lines] == ["/" + "x" * 255]


@pytest.mark.parametrize("lingering", [0, 1])
async def test_only_so_many_refused_peers_are_read_on(lingering: int) -> None:
    async with site(replace(PATIENT, lingering=lingering)) as here, connected(here.port) as peer:
        peer.send(post(b"Content-Length: 1\r\nContent-Length: 2\r\n", b"a" * 4_000))
        reply = await peer.reply()
        assert here.connections is not None
        [connection] = here.connections._open
        assert isinstance(connection.transport, asyncio.Transport)
        is_read = connection.transport.is_reading()

    assert (reply.status, is_read) == (400, lingering > 0)


@pytest.mark.parametrize("broken", [b"xyz\r\n", b"3\r\nabcdef\r\n"])
async def test_a_body_that_breaks_behind_its_head_is_refused_once(broken: bytes) -> None:
    """The refusal comes when its time is over, since aiohttp hands the parser's error to no reader of the body."""
    with capture_logs() as lines:
        async with site(replace(PATIENT, body=0.5)) as here, connected(here.port) as peer:
            peer.send(chunked(b"3\r\nabc\r\n"))
            await eventually(lambda: here.seen)
            peer.send(broken + SECOND)
            reply = await peer.reply()
            rest = await peer.rest()

    assert (reply.status, reply.code, reply.headers["connection"], rest) == TOO_SLOW
    assert here.seen == ["POST /echo"]
    assert [line["event"] for line in lines] == ["request"]


async def test_bytes_past_the_length_are_the_next_request(patient: Site) -> None:
    async with connected(patient.port) as peer:
        peer.send(post(b"Content-Length: 3\r\n"))
        await eventually(lambda: patient.seen)
        peer.send(b"abcdef\r\n\r\n")
        replies = [await peer.reply(), await peer.reply()]
        rest = await peer.rest()

    assert [(reply.status, reply.raw[:3]) for reply in replies] == [(200, b"abc"), (400, b'{"s')]
    assert (patient.seen, rest) == (["POST /echo"], b"")


async def test_good_requests_on_one_connection_are_answered_in_turn(patient: Site) -> None:
    first = chunked(b"3;ext=1\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n", b"Transfer-Encoding: Chunked\r\n")
    second = post(b"Content-Length: 2\r\n", b"de")
    absolute = get(b"Host: TEST\r\n", b"http://test/echo?x=//../%2f")
    async with connected(patient.port) as peer:
        peer.send(b"\r\n" + first + second + absolute)
        replies = [await peer.reply() for _ in range(3)]
        for byte in GOOD:
            peer.send(bytes([byte]))
        last = await peer.reply()

    assert [reply.raw for reply in (*replies, last)] == [b"abc", b"de", b"", b"ignored"]


async def test_a_declined_upgrade_ends_the_connection(patient: Site) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
    reply, rest = await ask(patient, get(HOST + upgrade) + SECOND)

    assert (reply.status, reply.headers["connection"], rest) == (200, "close", b"")
    assert patient.seen == ["GET /echo"]


@pytest.mark.parametrize(
    "request_", [GOOD, get(HOST, b"/nothing"), get(HOST, b"//"), get(HOST + b"Expect: x\r\n"), b"\x01\r\n\r\n"]
)
async def test_every_answer_has_the_security_headers_and_names_no_server(patient: Site, request_: bytes) -> None:
    expected = {
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "referrer-policy": "no-referrer",
        "server": None,
    }
    async with connected(patient.port) as peer:
        peer.send(request_)
        headers = (await peer.reply()).headers
    assert {name: headers.get(name) for name in expected} == expected


async def test_the_last_answer_of_a_process_that_stops_says_so() -> None:
    async with AsyncExitStack() as process, AsyncExitStack() as peers:
        here = await process.enter_async_context(site(PATIENT))
        idle, busy = [await peers.enter_async_context(connected(here.port)) for _ in "12"]
        idle.send(GOOD)
        await idle.reply()
        busy.send(WAIT)
        await eventually(lambda: "GET /wait" in here.seen)
        stopping = asyncio.create_task(process.aclose())
        assert await idle.rest() == b""
        here.go.set()
        last = await busy.reply()
        await stopping

    assert (last.status, last.headers["connection"]) == (200, "close")


# Slow peers.


async def test_a_connection_that_sends_nothing_is_closed_without_an_answer(here: Site) -> None:
    with capture_logs() as lines:
        async with connected(here.port) as peer:
            assert await peer.rest() == b""
    assert lines == []


@pytest.mark.parametrize("before", [0, 1])
async def test_a_head_that_trickles_in_is_cut_off(here: Site, before: int) -> None:
    """Each byte comes well within the limit, the head does not."""

    async def trickle(peer: Peer) -> None:
        for byte in b"GET /echo HTTP/1.1\r\nX: " + b"a" * 10_000:
            peer.send(bytes([byte]))
            await asyncio.sleep(0.02)

    async with connected(here.port) as peer:
        for _ in range(before):
            peer.send(GOOD)
            await peer.reply()
        trickling = asyncio.create_task(trickle(peer))
        reply = await peer.reply()
        rest = await peer.rest()
        trickling.cancel()

    assert (reply.status, reply.code, reply.headers["connection"], rest) == TOO_SLOW
    assert here.seen == ["GET /ignore"] * before


async def test_bytes_behind_a_request_in_progress_are_no_head_that_is_too_large_or_slow() -> None:
    body = b"a" * 60_000
    async with site(replace(PATIENT, head=SHORT.head)) as here, connected(here.port) as peer:
        peer.send(WAIT)
        await eventually(lambda: here.seen)
        peer.send(post(b"Content-Length: 60000\r\n", body) * 2)
        await asyncio.sleep(2 * SHORT.head)
        here.go.set()
        replies = [await peer.reply() for _ in range(3)]

    assert [(reply.status, reply.raw) for reply in replies] == [(200, b""), (200, body), (200, body)]


@pytest.mark.parametrize(("more", "status"), [(b"", 408), (b"X: " + b"a" * 5_000, 431)])
async def test_a_head_without_end_is_cut_off_behind_the_answer_before_it(more: bytes, status: int) -> None:
    async with site(replace(SHORT, head_bytes=4_096)) as here, connected(here.port) as peer:
        peer.send(WAIT)
        await eventually(lambda: here.seen)
        peer.send(b"GET /echo HTTP/1.1\r\n" + more)
        await asyncio.sleep(2 * SHORT.head)
        here.go.set()
        first = await peer.reply()
        peer.send(more)
        second = await peer.reply()
        rest = await peer.rest()

    assert (first.status, second.status, second.is_envelope, rest) == (200, status, True, b"")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (GOOD, 408),
        (post(b"Content-Length: 60000\r\n", b"a" * 59_999), 408),  # what is too large is not its head
        (GOOD[:-2] + b"X: aaaa\r\n" * 4_000, 431),
    ],
)
async def test_a_request_refused_with_its_head_is_not_handled(patient: Site, request_: bytes, status: int) -> None:
    assert patient.connections is not None
    async with connected(patient.port) as peer:
        await eventually(lambda: patient.connections)
        [connection] = patient.connections._open
        connection.data_received(request_)
        for now in (1e9, 2e9):
            connection.check(now)  # before the handler could begin
        reply = await peer.reply()
        rest = await peer.rest()

    assert (reply.status, reply.is_envelope, rest) == (status, True, b"")
    assert patient.seen == []


@pytest.mark.parametrize("request_", [post(b"Content-Length: 10\r\n", b"abc"), chunked(b"3\r\nabc\r\n")])
async def test_a_body_that_does_not_arrive_is_refused(here: Site, request_: bytes) -> None:
    with capture_logs() as lines:
        reply, rest = await ask(here, request_)

    assert (reply.status, reply.code, reply.headers["connection"], rest) == TOO_SLOW
    assert reply.is_envelope
    assert [line["status"] for line in lines] == [408]


@pytest.mark.parametrize("coding", [b"", b"Content-Encoding: gzip\r\n"])
@pytest.mark.parametrize("apart", [False, True])
async def test_a_bad_body_that_no_handler_reads_does_not_hold_the_connection(
    here: Site, caplog: pytest.LogCaptureFixture, coding: bytes, apart: bool
) -> None:
    """It does not all come, or is not encoded as it says."""
    head = b"POST /ignore HTTP/1.1\r\n" + HOST + coding + b"Content-Length: 10\r\n\r\n"
    with capture_logs() as lines:
        reply, rest = await ask(here, *([head, b"no gzip"] if apart else [head + b"no gzip"]))

    assert (reply.raw, rest) == (b"ignored", b"")
    assert [line["event"] for line in lines] == ["request"]
    assert caplog.records == []


async def test_the_limit_of_a_head_ends_neither_a_handler_nor_an_idle_connection() -> None:
    async with site(replace(SHORT, idle=2.0)) as here, connected(here.port) as peer:
        peer.send(WAIT)
        await asyncio.sleep(2 * SHORT.head)
        here.go.set()
        replies = [await peer.reply()]
        await asyncio.sleep(2 * SHORT.head)
        peer.send(GOOD)
        replies.append(await peer.reply())
        rest = await peer.rest()

    assert ([(reply.status, reply.raw) for reply in replies], rest) == ([(200, b""), (200, b"ignored")], b"")


async def test_of_a_body_that_nobody_asked_for_no_more_is_read_than_one_may_have() -> None:
    async with site(replace(PATIENT, body=60.0)) as here, connected(here.port) as peer:
        peer.send(get(HOST + b"Transfer-Encoding: chunked\r\n", b"/ignore"))
        assert (await peer.reply()).raw == b"ignored"
        for _ in range(20):
            peer.send(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
        assert await peer.rest() == b""


async def test_a_peer_that_does_not_read_is_cut_off(patient: Site) -> None:
    async with connected(patient.port) as peer:
        peer.stop_reading()
        peer.send(get(HOST, b"/flood"))
        await eventually(lambda: patient.ended == ["flood"])


def abort(writer: asyncio.StreamWriter) -> None:
    """Takes the writer, not its transport: since Python 3.13 a writer without a reference closes its connection."""
    writer.transport.abort()


async def test_many_slow_connections_do_not_stop_a_good_one() -> None:
    slow = (b"", b"GET /echo HTT", post(b"Content-Length: 9\r\n", b"a"))
    async with site(replace(SHORT, head=60.0, body=60.0, idle=60.0)) as here, AsyncExitStack() as ends:
        for number in range(500):
            _, writer = await asyncio.open_connection("127.0.0.1", here.port)
            ends.callback(abort, writer)
            writer.write(slow[number % 3])
        await eventually(lambda: here.connections is not None and len(here.connections) == 500, within=30)
        assert await is_served(here)


async def test_past_its_share_of_busy_connections_a_new_one_of_the_address_is_closed_unread_after_a_while() -> None:
    """Not at once: its holder would come again at once."""
    limits = replace(PATIENT, connections=5, sweep=2.0)
    async with site(limits) as here, AsyncExitStack() as stack:
        lines = stack.enter_context(capture_logs())
        for _ in range(4):
            peer = await stack.enter_async_context(connected(here.port))
            peer.send(WAIT)
        await eventually(lambda: len(here.seen) == 4)
        late = [await stack.enter_async_context(connected(here.port)) for _ in range(20)]
        flood = late[0].writer
        flood.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**14)
        flood.write(b"x" * 2**18)
        async with connected(here.port, "127.0.0.2") as other:
            for _ in range(50):
                other.send(GOOD)
                assert (await other.reply()).raw == b"ignored"
            unsent = flood.transport.get_write_buffer_size()
            early = [peer.is_over() for peer in late]
        assert [await peer.rest() for peer in late] == [b""] * 20

    lines = [line for line in lines if line["event"] == "too many connections"]
    assert (set(early), unsent > 2**17, sum(line["turned_away"] for line in lines)) == ({False}, True, 20)


@pytest.mark.parametrize(
    ("most", "address"),
    [(5, "127.0.0.1"), (4, "127.0.0.2")],
    ids=["past the share of its address", "where no place is left"],
)
async def test_a_new_connection_takes_the_place_of_the_one_that_has_been_idle_longest(most: int, address: str) -> None:
    async with site(replace(PATIENT, connections=most, settled=0.0)) as here, AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(connected(here.port)) for _ in range(4)]
        for peer in (*peers, peers[0]):
            peer.send(GOOD)
            await peer.reply()
        with capture_logs() as lines:
            newcomer = await stack.enter_async_context(connected(here.port, address))
            await eventually(lambda: [line for line in lines if line["event"] == "too many connections"])
            for peer in (newcomer, peers[0], peers[2], peers[3]):
                peer.send(GOOD)
                assert (await peer.reply()).raw == b"ignored"
            assert await peers[1].rest() == b""

    assert [(line["closed_idle"], line["turned_away"]) for line in lines if "turned_away" in line] == [(1, 0)]


# Clients that have gone.


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_read_whose_client_has_gone_is_cancelled(patient: Site, how: str) -> None:
    with capture_logs() as lines:
        async with connected(patient.port) as peer:
            peer.send(WAIT)
            await eventually(lambda: patient.seen)
            getattr(peer.writer.transport, how)()
            await eventually(lambda: patient.ended == ["cancelled"])
            await eventually(lambda: lines)

    assert [(line["event"], line["log_level"], line["status"]) for line in lines] == [("request", "info", 499)]


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_a_write_whose_client_has_gone_goes_on(patient: Site, method: str) -> None:
    with capture_logs() as lines:
        async with connected(patient.port) as peer:
            peer.send(f"{method} /wait HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc".encode())
            await eventually(lambda: patient.seen)
        await eventually(patient.is_empty)
        patient.go.set()
        await eventually(lambda: patient.ended == ["answered"])
        await eventually(lambda: lines)

    assert [(line["event"], line["log_level"]) for line in lines] == [("request", "info")]


async def test_a_client_that_goes_at_once_ends_its_read_but_not_its_write(patient: Site) -> None:
    async def ask(request: bytes) -> None:
        for _ in range(20):
            async with connected(patient.port) as peer:
                peer.send(request)
                peer.writer.close()
                await peer.writer.wait_closed()

    await ask(WAIT)
    await eventually(patient.is_empty)
    await eventually(lambda: patient.ended == ["cancelled"] * len(patient.seen))
    patient.ended.clear()
    patient.go.set()
    await ask(b"POST /wait HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc")
    await eventually(lambda: patient.ended == ["answered"] * 20)


async def test_a_client_that_goes_while_it_sends_the_body_is_no_crash(patient: Site) -> None:
    with capture_logs() as lines:
        async with connected(patient.port) as peer:
            peer.send(post(b"Content-Length: 10\r\n", b"abc"))
            await eventually(lambda: patient.seen)
        await eventually(lambda: lines)

    assert [(line["event"], line["status"]) for line in lines] == [("request", 499)]


async def test_open_files_are_raised_to_the_most_that_the_system_allows() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, hard), hard))
        fitting = raise_open_files(2_000)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
        assert 1 <= fitting <= 2_000
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
