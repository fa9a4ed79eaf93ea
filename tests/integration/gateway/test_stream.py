import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from gateway import forward
from tests.api import Api
from tests.integration.gateway.streams import FIRST, HEARTBEAT, SECOND, Script
from tests.integration.upstream import FakeService, envelope, hang, respond_with
from tests.waiting import eventually

PATH = "/orders/7/events"
NOT_FOUND = envelope(404, None, error={"code": "not_found", "message": "There is no order 7"})
LIMIT = 5.0


@pytest.fixture
def script(orders: FakeService) -> Script:
    script = Script()
    orders.respond = script.respond
    return script


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[aiohttp.ClientResponse]:
    timeout = aiohttp.ClientTimeout(total=LIMIT)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url + PATH) as response:
        yield response


async def test_a_stream_is_passed_on_piece_by_piece(gateway_url: str, script: Script) -> None:
    got = []
    async with opened(gateway_url) as stream:
        for piece in (FIRST, HEARTBEAT, SECOND):
            script.write(piece)
            got.append(await stream.content.readany())
        script.finish()
        rest = await stream.content.read()

    assert (got, rest) == ([FIRST, HEARTBEAT, SECOND], b"")
    assert (stream.content_type, stream.headers["Cache-Control"]) == ("text/event-stream", "no-store")
    assert stream.headers["X-Request-ID"]


async def test_a_client_resumes_where_it_says(gateway: Api, orders: FakeService) -> None:
    orders.respond = respond_with(200, SECOND, {"Content-Type": "text/event-stream"})

    answer = await gateway.get(PATH, headers={"Last-Event-ID": "1"})

    [seen] = orders.seen
    assert (seen.target, seen.headers["Last-Event-ID"]) == (PATH, "1")
    assert answer.raw == SECOND


async def test_a_stream_outlasts_the_limit_of_other_answers(gateway_url: str, script: Script) -> None:
    """Of half a second."""
    async with opened(gateway_url) as stream:
        for _ in range(4):
            await asyncio.sleep(0.2)
            script.write(HEARTBEAT)
        script.finish()

        assert await stream.content.read() == HEARTBEAT * 4


async def test_a_refusal_in_the_place_of_a_stream_passes_byte_for_byte(gateway: Api, orders: FakeService) -> None:
    orders.respond = respond_with(404, NOT_FOUND)

    answer = await gateway.get(PATH)

    assert (answer.status, answer.raw) == (404, NOT_FOUND)
    assert answer.headers["Content-Type"].startswith("application/json")


async def test_the_word_that_nothing_more_will_come_passes(gateway: Api, orders: FakeService) -> None:
    orders.respond = respond_with(204, b"")

    answer = await gateway.get(PATH, headers={"Last-Event-ID": "2"})

    assert (answer.status, answer.raw) == (204, b"")


async def test_a_stream_that_breaks_off_ends_and_the_connection_serves_on(
    gateway_url: str, orders: FakeService, script: Script
) -> None:
    """No second answer follows the first one."""
    host, port = gateway_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(LIMIT):
        writer.write(f"GET {PATH} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        script.write(FIRST)
        first = await reader.readuntil(FIRST)
        script.break_off()
        end = await reader.readuntil(b"0\r\n\r\n")
        orders.respond = respond_with(404, NOT_FOUND)
        writer.write(f"GET {PATH} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        second = await reader.read()
    writer.close()
    await writer.wait_closed()

    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert end == b"\r\n0\r\n\r\n"
    assert second.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert second.endswith(NOT_FOUND)


async def test_a_service_that_is_quiet_for_too_long_is_left(
    gateway_url: str, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "_QUIET", 0.2)

    async with opened(gateway_url) as stream:
        script.write(FIRST)
        got = await stream.content.read()

    assert got == FIRST
    await eventually(script.ended.is_set)


async def test_a_service_that_begins_no_stream_in_time_is_a_timeout(
    gateway: Api, orders: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "_QUIET", 0.2)
    orders.respond = hang

    answer = await gateway.get(PATH)

    assert (answer.status, answer.code) == (504, "upstream_timeout")


async def test_a_client_that_leaves_is_noticed_at_the_next_piece_and_the_service_is_left(
    gateway_url: str, script: Script
) -> None:
    async with opened(gateway_url) as stream:
        script.write(FIRST)
        await stream.content.readany()

    def next_piece_finds_nobody() -> bool:
        script.write(HEARTBEAT)
        return script.ended.is_set()

    await eventually(next_piece_finds_nobody)
