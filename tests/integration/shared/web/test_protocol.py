"""What peers do wrong at the socket, and what becomes of them."""

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from shared.web.server import raise_open_files
from tests.integration.shared.web.malformed import CASES, HOST, SECOND, VERSIONS, chunked, get, post
from tests.integration.shared.web.raw import Peer, connected
from tests.integration.shared.web.serving import SHORT, Site, site
from tests.waiting import eventually

GOOD = get(HOST, b"/ignore")


@pytest.fixture
async def here() -> AsyncIterator[Site]:
    async with site() as here:
        yield here


@pytest.fixture
async def patient() -> AsyncIterator[Site]:
    """For what is not about time: with more of it than a busy machine loses."""
    async with site(replace(SHORT, head=10.0, body=2.0)) as patient:
        yield patient


async def is_served(here: Site) -> bool:
    async with connected(here.port) as peer:
        peer.send(GOOD)
        try:
            return (await peer.reply()).raw == b"ignored"
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return False


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("ends", ["whole", "apart"])
async def test_a_malformed_request_is_refused_and_nothing_after_it_is_read(
    patient: Site, case: str, ends: str
) -> None:
    data, status, code = CASES[case]
    async with connected(patient.port) as peer:
        if ends == "whole":
            peer.send(data + SECOND)
        else:  # the last bytes, and what follows, in a segment of their own
            peer.send(data[:-1])
            await asyncio.sleep(0.01)
            peer.send(data[-1:] + SECOND)
        reply = await peer.reply()
        rest = await peer.rest()

    assert (reply.status, reply.code, reply.is_envelope, rest) == (status, code, True, b"")
    assert "GET /echo?smuggled" not in patient.seen
    assert await is_served(patient)


@pytest.mark.parametrize("version", VERSIONS)
async def test_another_version_than_ours_is_refused(patient: Site, version: str) -> None:
    async with connected(patient.port) as peer:
        peer.send(VERSIONS[version])
        reply = await peer.reply()
        rest = await peer.rest()

    assert (reply.status, reply.code, reply.is_envelope, rest) == (505, "http_version_not_supported", True, b"")
    assert patient.seen == []


async def test_a_refusal_is_logged_without_what_was_sent(patient: Site) -> None:
    with capture_logs() as lines:
        async with connected(patient.port) as peer:
            peer.send(get(HOST + b"X-Secret: hunter2\0\r\n", b"/echo?token=hunter2"))
            reply = await peer.reply()

    assert lines == [
        {
            "event": "request refused",
            "log_level": "info",
            "method": "GET",
            "path": "/echo",
            "status": 400,
            "code": "validation_error",
        }
    ]
    assert b"hunter2" not in reply.raw
    assert reply.body["path"] == "/echo"
    assert reply.headers["x-request-id"]


async def test_what_is_no_http_is_logged_without_any_of_it(patient: Site) -> None:
    with capture_logs() as lines:
        async with connected(patient.port) as peer:
            peer.send(b"hunter2 is my password\r\n\r\n")
            await peer.rest()

    [line] = lines
    assert (line["event"], line["method"], line["path"]) == ("request refused", "-", "-")


@pytest.mark.parametrize("broken", [b"xyz\r\n", b"3\r\nabcdef\r\n"])
async def test_a_body_that_breaks_behind_its_head_is_refused_once(patient: Site, broken: bytes) -> None:
    """When its time is over: aiohttp hands the error of the parser to no reader of the body."""
    with capture_logs() as lines:
        async with connected(patient.port) as peer:
            peer.send(chunked(b"3\r\nabc\r\n"))
            await eventually(lambda: patient.seen)
            peer.send(broken + SECOND)
            reply = await peer.reply()
            rest = await peer.rest()

    assert (reply.status, reply.code, reply.headers["connection"], rest) == (408, "request_timeout", "close", b"")
    assert patient.seen == ["POST /echo"]
    assert [line["event"] for line in lines] == ["request"]


async def test_more_than_the_length_says_is_another_request_or_none(patient: Site) -> None:
    async with connected(patient.port) as peer:
        peer.send(post(b"Content-Length: 3\r\n"))
        await eventually(lambda: patient.seen)
        peer.send(b"abcdef\r\n\r\n")
        replies = [await peer.reply(), await peer.reply()]
        rest = await peer.rest()

    assert [(reply.status, reply.raw[:3]) for reply in replies] == [(200, b"abc"), (400, b'{"s')]
    assert rest == b""
    assert patient.seen == ["POST /echo"]


async def test_good_requests_on_one_connection_are_answered_in_turn(patient: Site) -> None:
    first, second = chunked(b"3;ext=1\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n"), post(b"Content-Length: 2\r\n", b"de")
    absolute = get(b"Host: TEST\r\n", b"http://test/echo?x=//../%2f")
    async with connected(patient.port) as peer:
        peer.send(b"\r\n" + first + second + absolute)
        replies = [await peer.reply() for _ in range(3)]
        for byte in GOOD:
            peer.send(bytes([byte]))
        last = await peer.reply()

    assert [reply.raw for reply in (*replies, last)] == [b"abc", b"de", b"", b"ignored"]


async def test_a_declined_upgrade_ends_the_connection(patient: Site) -> None:
    async with connected(patient.port) as peer:
        peer.send(
            get(HOST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n") + SECOND
        )
        reply = await peer.reply()

        assert (reply.status, reply.headers["connection"], await peer.rest()) == (200, "close", b"")
    assert patient.seen == ["GET /echo"]


async def test_every_answer_has_the_security_headers_and_no_server(patient: Site) -> None:
    expected = {
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "referrer-policy": "no-referrer",
    }
    requests = [GOOD, get(HOST, b"/nothing"), get(HOST, b"//"), get(HOST + b"Expect: x\r\n"), b"\x01\r\n\r\n"]
    for request in requests:
        async with connected(patient.port) as peer:
            peer.send(request)
            headers = (await peer.reply()).headers
        assert {name: headers.get(name) for name in expected} == expected
        assert "server" not in headers


async def test_the_last_answer_of_a_process_that_stops_says_so() -> None:
    async with AsyncExitStack() as process, AsyncExitStack() as peers:
        here = await process.enter_async_context(site(replace(SHORT, head=10.0, idle=10.0)))
        idle, busy = [await peers.enter_async_context(connected(here.port)) for _ in "12"]
        idle.send(GOOD)
        await idle.reply()
        busy.send(get(HOST, b"/wait"))
        await eventually(lambda: "GET /wait" in here.seen)
        stopping = asyncio.create_task(process.aclose())
        assert await idle.rest() == b""
        here.go.set()
        last = await busy.reply()
        await stopping

    assert (last.status, last.headers["connection"]) == (200, "close")


# Slow peers.


async def test_a_connection_that_sends_nothing_is_closed_without_a_word(here: Site) -> None:
    with capture_logs() as lines:
        async with connected(here.port) as peer:
            assert await peer.rest() == b""
    assert lines == []


@pytest.mark.parametrize("before", [0, 1])
async def test_a_head_that_trickles_in_is_cut_off(here: Site, before: int) -> None:
    """Each byte comes well within the limit, the head does not."""
    async with connected(here.port) as peer:
        for _ in range(before):
            peer.send(GOOD)
            await peer.reply()
        trickle = asyncio.create_task(trickle_into(peer, b"GET /echo HTTP/1.1\r\nX: " + b"a" * 10_000))
        reply = await peer.reply()
        rest = await peer.rest()
        trickle.cancel()

    assert (reply.status, reply.code, reply.headers["connection"], rest) == (408, "request_timeout", "close", b"")
    assert here.seen == ["GET /ignore"] * before


async def trickle_into(peer: Peer, data: bytes) -> None:
    for byte in data:
        peer.send(bytes([byte]))
        await asyncio.sleep(0.02)


async def test_a_head_without_end_is_cut_off_by_its_size() -> None:
    async with site(replace(SHORT, head=60.0, head_bytes=4_096)) as here, connected(here.port) as peer:
        peer.send(b"GET /echo HTTP/1.1\r\n")
        for number in range(90):
            peer.send(b"X-%d: %s\r\n" % (number, b"a" * 60))
            await asyncio.sleep(0)
        reply = await peer.reply()

    assert (reply.status, reply.code) == (431, "headers_too_large")


async def test_what_arrives_behind_a_request_in_progress_is_no_head_for_its_size(here: Site) -> None:
    """More than a head may have, and for longer than a head may take."""
    body = b"a" * 60_000
    async with connected(here.port) as peer:
        peer.send(get(HOST, b"/wait"))
        await eventually(lambda: here.seen)
        peer.send(post(b"Content-Length: 60000\r\n", body) * 2)
        await asyncio.sleep(2 * SHORT.head)
        here.go.set()
        replies = [await peer.reply() for _ in range(3)]

    assert [(reply.status, reply.raw) for reply in replies] == [(200, b""), (200, body), (200, body)]


@pytest.mark.parametrize(("more", "status"), [(b"", 408), (b"X: " + b"a" * 5_000, 431)])
async def test_a_head_without_end_is_cut_off_behind_the_answer_before_it(more: bytes, status: int) -> None:
    async with site(replace(SHORT, head_bytes=4_096)) as here, connected(here.port) as peer:
        peer.send(get(HOST, b"/wait"))
        await eventually(lambda: here.seen)
        peer.send(b"GET /echo HTTP/1.1\r\n" + more)
        await asyncio.sleep(2 * SHORT.head)
        here.go.set()
        first = await peer.reply()
        peer.send(more)
        second = await peer.reply()
        rest = await peer.rest()

    assert (first.status, second.status, second.is_envelope, rest) == (200, status, True, b"")


@pytest.mark.parametrize("request_", [GOOD, post(b"Content-Length: 60000\r\n", b"a" * 59_999)])
async def test_a_request_that_is_refused_while_its_head_completes_is_not_handled(
    patient: Site, request_: bytes
) -> None:
    assert patient.connections is not None
    async with connected(patient.port) as peer:
        await eventually(lambda: patient.connections)
        [connection] = patient.connections._open
        connection.data_received(request_)
        for now in (1e9, 2e9):
            connection.check(now)  # before the handler could begin
        reply = await peer.reply()
        rest = await peer.rest()

    assert (reply.status, reply.is_envelope, rest) == (431 if len(request_) > 32_768 else 408, True, b"")
    assert patient.seen == []


@pytest.mark.parametrize("request_", [post(b"Content-Length: 10\r\n", b"abc"), chunked(b"3\r\nabc\r\n")])
async def test_a_body_that_does_not_arrive_is_a_408(here: Site, request_: bytes) -> None:
    with capture_logs() as lines:
        async with connected(here.port) as peer:
            peer.send(request_)
            reply = await peer.reply()
            rest = await peer.rest()

    assert (reply.status, reply.code, reply.is_envelope, rest) == (408, "request_timeout", True, b"")
    assert reply.headers["connection"] == "close"
    assert [line["status"] for line in lines] == [408]


@pytest.mark.parametrize("coding", [b"", b"Content-Encoding: gzip\r\n"])
@pytest.mark.parametrize("apart", [False, True])
async def test_a_bad_body_that_nobody_reads_does_not_hold_the_connection(
    here: Site, caplog: pytest.LogCaptureFixture, coding: bytes, apart: bool
) -> None:
    """It does not all come, or is not encoded as it says."""
    with capture_logs() as lines:
        async with connected(here.port) as peer:
            peer.send(b"POST /ignore HTTP/1.1\r\n" + HOST + coding + b"Content-Length: 10\r\n\r\n")
            if apart:
                await eventually(lambda: here.seen)
            peer.send(b"no gzip")
            reply = await peer.reply()
            rest = await peer.rest()

    assert (reply.raw, rest) == (b"ignored", b"")
    assert [line["event"] for line in lines] == ["request"]
    assert caplog.records == []


async def test_a_handler_that_takes_longer_than_a_head_may_is_left_alone(here: Site) -> None:
    async with connected(here.port) as peer:
        peer.send(get(HOST, b"/wait"))
        await asyncio.sleep(2 * SHORT.head)
        here.go.set()
        assert (await peer.reply()).status == 200


async def test_an_idle_connection_outlasts_the_limit_of_a_head(here: Site) -> None:
    async with connected(here.port) as peer:
        peer.send(GOOD)
        await peer.reply()
        await asyncio.sleep(2 * SHORT.head)
        peer.send(GOOD)
        assert (await peer.reply()).raw == b"ignored"
        assert await peer.rest() == b""


async def test_a_peer_that_does_not_read_is_cut_off(here: Site) -> None:
    async with connected(here.port) as peer:
        peer.stop_reading()
        peer.send(get(HOST, b"/flood"))
        await eventually(lambda: here.ended == ["flood"])


async def test_many_slow_connections_do_not_stop_a_good_one() -> None:
    async with AsyncExitStack() as ends, site(replace(SHORT, head=6.0, body=6.0, idle=60.0)) as here:
        for number in range(500):
            _, writer = await asyncio.open_connection("127.0.0.1", here.port)
            ends.callback(writer.transport.abort)
            writer.write((b"", b"GET /echo HTT", post(b"Content-Length: 9\r\n", b"a"))[number % 3])
        await eventually(lambda: len(here.connections or ()) == 500)
        async with asyncio.timeout(3.0):
            assert await is_served(here)
        await eventually(lambda: len(here.connections or ()) == 0, within=20)


async def test_past_the_most_connections_new_ones_are_closed_at_once() -> None:
    async with site(replace(SHORT, connections=2, head=60.0)) as here:
        async with connected(here.port) as first, connected(here.port) as second:
            for peer in (first, second):
                peer.send(GOOD)
                await peer.reply()
            with capture_logs() as lines:
                for _ in range(20):
                    async with connected(here.port) as peer:
                        assert await peer.rest() == b""
                await eventually(lambda: sum(line["turned_away"] for line in lines) == 20)
            first.send(GOOD)
            assert (await first.reply()).raw == b"ignored"
        await eventually(lambda: is_served(here))

    assert {line["event"] for line in lines} == {"too many connections"}
    assert len(lines) < 20


# Those who have gone.


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_read_whose_client_has_gone_is_cancelled(here: Site, how: str) -> None:
    with capture_logs() as lines:
        async with connected(here.port) as peer:
            peer.send(get(HOST, b"/wait"))
            await eventually(lambda: here.seen)
            getattr(peer.writer.transport, how)()
            await eventually(lambda: here.ended == ["cancelled"])
            await eventually(lambda: lines)

    assert [(line["event"], line["log_level"], line["status"]) for line in lines] == [("request", "info", 499)]


async def test_a_read_whose_client_goes_at_once_is_cancelled(here: Site) -> None:
    for _ in range(20):
        async with connected(here.port) as peer:
            peer.send(get(HOST, b"/wait"))
            peer.writer.close()
            await peer.writer.wait_closed()
    await eventually(lambda: here.connections is not None and len(here.connections) == 0)
    await eventually(lambda: here.ended == ["cancelled"] * len(here.seen))


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_a_write_whose_client_has_gone_goes_on(here: Site, method: str) -> None:
    with capture_logs() as lines:
        async with connected(here.port) as peer:
            peer.send(f"{method} /wait HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc".encode())
            await eventually(lambda: here.seen)
        await eventually(lambda: here.connections is not None and len(here.connections) == 0)
        here.go.set()
        await eventually(lambda: here.ended == ["wrote abc"])
        await eventually(lambda: lines)

    assert [(line["event"], line["log_level"]) for line in lines] == [("request", "info")]


async def test_a_write_whose_client_goes_at_once_goes_on(here: Site) -> None:
    here.go.set()
    for _ in range(20):
        async with connected(here.port) as peer:
            peer.send(b"POST /wait HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc")
            peer.writer.close()
            await peer.writer.wait_closed()
    await eventually(lambda: here.ended == ["wrote abc"] * 20)


async def test_a_client_that_goes_while_it_sends_the_body_is_no_crash(here: Site) -> None:
    with capture_logs() as lines:
        async with connected(here.port) as peer:
            peer.send(post(b"Content-Length: 10\r\n", b"abc"))
            await eventually(lambda: here.seen)
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
