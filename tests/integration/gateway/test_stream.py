import asyncio

import aiohttp
import pytest

from gateway import forward
from tests.api import Api
from tests.events import HEARTBEAT, following
from tests.integration.gateway.opening import opened
from tests.integration.gateway.streams import FIRST, SECOND, Script
from tests.integration.upstream import FakeService, envelope, hang, respond_with
from tests.waiting import eventually

PATH = "/orders/7/events"
NOT_FOUND = envelope(404, None, error={"code": "not_found", "message": "There is no order 7"})
LIMIT = 20.0


@pytest.fixture
def script(orders: FakeService) -> Script:
    script = Script()
    orders.respond = script.respond
    return script


@pytest.fixture
def url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


async def test_a_stream_is_passed_on_piece_by_piece(url: str, script: Script) -> None:
    got = []
    async with following(url, 7) as stream:
        for piece in (FIRST, HEARTBEAT, SECOND):
            script.write(piece)
            got.append(await stream.block())
        script.finish()
        end = await stream.block()

    assert (got, end) == ([FIRST, HEARTBEAT, SECOND], b"")
    assert (stream.headers["Content-Type"], stream.headers["Cache-Control"]) == ("text/event-stream", "no-store")
    assert stream.headers["X-Accel-Buffering"] == "no"
    assert stream.headers["X-Request-ID"]


@pytest.mark.parametrize(
    ("status", "body", "content_type"),
    [(200, SECOND, "text/event-stream"), (404, NOT_FOUND, "application/json"), (204, b"", None)],
)
async def test_the_service_learns_where_a_client_resumes_and_its_answer_passes_byte_for_byte(
    gateway: Api, orders: FakeService, status: int, body: bytes, content_type: str | None
) -> None:
    """A refusal passes too, and so does the answer that nothing more will come."""
    orders.respond = respond_with(status, body, {"Content-Type": content_type} if content_type else {})
    answer = await gateway.get(PATH, headers={"Last-Event-ID": "1"})

    [seen] = orders.seen
    assert (seen.target, seen.headers["Last-Event-ID"]) == (PATH, "1")
    assert (answer.status, answer.raw) == (status, body)
    assert content_type is None or answer.headers["Content-Type"].startswith(content_type)


async def test_a_stream_outlasts_the_limits_of_other_answers(orders: FakeService) -> None:
    script = Script()
    orders.respond = script.respond
    limits = dict.fromkeys(("REQUEST_SECONDS", "UPSTREAM_TOTAL_SECONDS"), "0.1")
    async with opened(orders, **limits) as gateway:
        stream = asyncio.create_task(gateway.get(PATH))
        await eventually(lambda: orders.seen)
        script.write(FIRST)
        orders.respond = hang
        other = await gateway.get("/orders/7")
        script.write(SECOND)
        script.finish()
        answer = await stream

    assert (other.status, answer.raw) == (504, FIRST + SECOND)


@pytest.mark.parametrize("broken", [True, False])
async def test_a_broken_stream_is_broken_for_the_client_too(port: int, script: Script, broken: bool) -> None:
    """It has no last chunk (RFC 9112 §8); one that the service has ended has it, and its connection serves on."""
    request = f"GET {PATH} HTTP/1.1\r\nHost: test\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(LIMIT):
        writer.write(f"{request}\r\n{request}Connection: close\r\n\r\n".encode())
        script.write(FIRST)
        first = await reader.readuntil(FIRST)
        (script.break_off if broken else script.finish)()
        script.finish()
        rest = await reader.read()
    writer.close()
    await writer.wait_closed()

    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    if broken:
        assert rest == b"\r\n"
    else:
        assert rest.startswith(b"\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n")


async def test_a_service_that_is_quiet_for_too_long_is_left(
    url: str, gateway: Api, orders: FakeService, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a stream has begun that is a time-out."""
    monkeypatch.setattr(forward, "_QUIET", 0.2)
    async with following(url, 7) as stream:
        script.write(FIRST)
        got = await stream.block()
        with pytest.raises(aiohttp.ClientPayloadError):
            await stream.block()
    await eventually(script.ended.is_set)
    orders.respond = hang
    answer = await gateway.get(PATH)

    assert got == FIRST
    assert (answer.status, answer.code) == (504, "upstream_timeout")


async def test_a_client_that_leaves_is_noticed_at_the_next_piece(url: str, script: Script) -> None:
    async with following(url, 7) as stream:
        script.write(FIRST)
        await stream.block()

    def next_piece_finds_no_client() -> bool:
        script.write(HEARTBEAT)
        return script.ended.is_set()

    await eventually(next_piece_finds_no_client)
