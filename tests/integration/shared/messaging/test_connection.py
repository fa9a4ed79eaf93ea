"""A connection to the broker, where its library needs help."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiormq.abc import AbstractConnection

from ops import broker
from shared.messaging.connection import SupervisedConnection
from shared.settings import each_host
from shared.tasks import BackgroundTasks
from tests.broker import Vhost
from tests.integration.line import line_to
from tests.waiting import eventually


@asynccontextmanager
async def no_session(_: AbstractConnection) -> AsyncIterator[asyncio.Future[object]]:
    yield asyncio.Future()


@pytest.mark.parametrize("turns", range(12))
async def test_a_cancellation_ends_it_whenever_it_comes(turns: int) -> None:
    """A broker that closes at once: the cancellation comes so many turns of the event loop after that."""
    closed = asyncio.Event()

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        closed.set()

    async with await asyncio.start_server(close, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        running = asyncio.create_task(SupervisedConnection(f"amqp://127.0.0.1:{port}", "test", no_session).run())
        await closed.wait()
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        done, _ = await asyncio.wait({running}, timeout=5)
        ended = bool(done)
        running.cancel()
        await asyncio.wait({running})

    assert ended


async def test_a_cancellation_that_is_not_its_own_is_a_lost_connection(vhost: Vhost) -> None:
    """As aiormq does to who waits on a connection that has missed its heartbeats."""
    sessions = 0

    @asynccontextmanager
    async def cancelled_once(_: AbstractConnection) -> AsyncIterator[asyncio.Future[object]]:
        nonlocal sessions
        sessions += 1
        if sessions == 1:
            raise asyncio.CancelledError
        yield asyncio.Future()

    supervised = SupervisedConnection(vhost.url, "test", cancelled_once)
    async with BackgroundTasks() as tasks:
        tasks.start("connection", supervised.run())
        await eventually(lambda: supervised.connected)
        assert tasks.failed == set()


async def test_of_several_brokers_a_dead_or_silent_one_hides_no_other_and_the_next_follows_one_that_was_lost(
    vhost: Vhost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.messaging.connection._CONNECT", 3.0)  # a second for each
    was_asked = 0

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal was_asked
        was_asked += 1
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent, line_to(vhost.port) as line:
        hosts = (line.port, 9, silent.sockets[0].getsockname()[1])
        url = vhost.url.replace(f"127.0.0.1:{vhost.port}", ",".join(f"127.0.0.1:{port}" for port in hosts))
        supervised = SupervisedConnection(url, "test", no_session)
        async with BackgroundTasks() as tasks:
            tasks.start("connection", supervised.run())
            await eventually(lambda: supervised.connected)
            assert was_asked == 0
            line.cut()
            line.restore()
            await eventually(lambda: was_asked == 1)
            await eventually(lambda: supervised.connected)
        async with broker.connect(*reversed(each_host(url))) as connection:
            assert (connection.is_opened, was_asked) == (True, 2)
