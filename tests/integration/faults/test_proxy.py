"""What passes a proxy, and what does not."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.faults.ends import (
    MEGABYTE,
    Link,
    break_off,
    broken,
    fill,
    is_silent,
    nobody_knocks,
    pass_on,
    receive,
    send,
)
from tests.waiting import eventually
from tools.faults import proxy as proxy_module
from tools.faults.proxy import Proxy

PAYLOAD = os.urandom(10 * MEGABYTE)
Settle = Callable[[], Awaitable[None]]
FAULTS: dict[str, Callable[[Proxy], None]] = {
    "reset": Proxy.reset,
    "cut": Proxy.cut,
    "stall": Proxy.stall,
    "mute": Proxy.mute,
    "lag": lambda proxy: proxy.lag(0.05),
}


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
async def sockets() -> AsyncIterator[ExitStack]:
    with ExitStack() as sockets:
        yield sockets


@pytest.fixture
async def link(sockets: ExitStack) -> AsyncIterator[Link]:
    link = Link(sockets)
    await link.proxy.start()
    yield link
    await link.proxy.stop()


@pytest.fixture
def proxy(link: Link) -> Proxy:
    return link.proxy


@pytest.fixture
async def settle(sockets: ExitStack) -> AsyncIterator[Settle]:
    """Waits until all that can pass a link has: both proxies have the same loop, so the other's turn came, too."""
    other = Link(sockets)
    await other.proxy.start()

    async def settle() -> None:
        for _ in range(3):
            await other.carries()

    yield settle
    await other.proxy.stop()


async def test_it_carries_both_ways_and_counts_connections(link: Link, proxy: Proxy) -> None:
    first, second = await link.open(), await link.open()
    for client, server in (first, second):
        await pass_on(client, b"request", server)
        await pass_on(server, b"answer", client)
    while_open = proxy.connections
    for end in (*first, *second):
        end.close()
    await eventually(lambda: proxy.connections == 0)

    assert while_open == 2


@pytest.mark.parametrize("answers", [False, True], ids=["requests", "answers"])
async def test_a_slow_reader_gets_all_of_it(link: Link, settle: Settle, answers: bool) -> None:
    source, sink = reversed(await link.open()) if answers else await link.open()
    sending = asyncio.create_task(send(source, PAYLOAD))
    received = bytearray()
    while len(received) < len(PAYLOAD):
        received += await receive(sink, min(MEGABYTE, len(PAYLOAD) - len(received)))
        await settle()
    await sending

    assert received == PAYLOAD


async def test_a_reader_that_stops_stops_the_sender(link: Link, settle: Settle) -> None:
    """The proxy takes no more than it may hold, and the kernel has its limits, too."""
    client, server = await link.open()
    sent = fill(client)
    while True:
        await settle()
        more = fill(client)
        sent += more
        assert sent < 128 * MEGABYTE
        if not more:
            break

    assert len(await receive(server, sent)) == sent


@pytest.mark.parametrize("answers", [False, True], ids=["client first", "server first"])
async def test_one_side_may_end_before_the_other(link: Link, proxy: Proxy, answers: bool) -> None:
    first, second = reversed(await link.open()) if answers else await link.open()
    await pass_on(first, b"last words", second)
    first.shutdown(socket.SHUT_WR)
    seen_by_second = await receive(second, 1)
    await pass_on(second, b"still there", first)
    second.shutdown(socket.SHUT_WR)
    seen_by_first = await receive(first, 1)
    await eventually(lambda: proxy.connections == 0)

    assert seen_by_first == seen_by_second == b""


@pytest.mark.parametrize("answers", [False, True], ids=["client", "server"])
async def test_a_side_that_breaks_off_breaks_the_other(link: Link, proxy: Proxy, answers: bool) -> None:
    first, second = reversed(await link.open()) if answers else await link.open()
    break_off(first)
    await broken(second)

    assert proxy.connections == 0


async def test_a_target_that_is_down_breaks_the_client_until_it_is_up(link: Link, proxy: Proxy) -> None:
    address = link.target.getsockname()
    link.target.close()
    for _ in range(3):
        await broken(await link.connect())
    no_connections = proxy.connections
    link.target = link.sockets.enter_context(socket.create_server(address))
    link.target.setblocking(False)

    assert no_connections == 0
    await link.carries()


async def test_a_target_that_does_not_accept_breaks_the_client_in_time(
    link: Link, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy_module, "DIAL_SECONDS", 0.1)
    link.target.listen(0)  # one connection waits to be accepted, and the kernel answers no other
    await link.connect()
    await eventually(lambda: proxy.connections == 1)

    await broken(await link.connect())
    assert proxy.connections == 1


async def test_a_stalled_link_does_not_tell_that_the_target_did_not_accept(
    link: Link, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy_module, "DIAL_SECONDS", 0.1)
    link.target.listen(0)
    await link.connect()
    await eventually(lambda: proxy.connections == 1)
    client = await link.connect()
    await eventually(lambda: proxy.connections == 2)
    proxy.stall()
    given_up = asyncio.get_running_loop().time() + 0.15
    await eventually(lambda: asyncio.get_running_loop().time() > given_up)
    was_silent = is_silent(client)
    proxy.heal()

    await broken(client)
    assert was_silent


async def test_reset_breaks_all_connections_and_no_new_one(link: Link, proxy: Proxy) -> None:
    ends = [*await link.open(), *await link.open()]
    proxy.reset()

    assert proxy.connections == 0
    for end in ends:
        await broken(end)
    await link.carries()


async def test_cut_breaks_all_connections_and_refuses_new_ones(link: Link, proxy: Proxy) -> None:
    client, server = await link.open()
    port = proxy.port
    for _ in range(3):
        proxy.cut()
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                await link.connect()
        proxy.heal()
        await link.carries()

    await broken(client)
    await broken(server)
    assert proxy.port == port


async def test_stall_holds_what_is_sent_and_then_delivers_it(link: Link, proxy: Proxy, settle: Settle) -> None:
    client, server = await link.open()
    await pass_on(client, b"before", server)
    proxy.stall()
    client.send(b"request ")
    server.send(b"answer ")
    await settle()
    client.send(b"and more")
    server.send(b"and more")
    client.shutdown(socket.SHUT_WR)
    server.shutdown(socket.SHUT_WR)
    await settle()
    was_silent = is_silent(client), is_silent(server)
    proxy.heal()

    assert was_silent == (True, True)
    assert await receive(server, 100) == b"request and more"
    assert await receive(client, 100) == b"answer and more"


async def test_a_stalled_link_accepts_connections_that_the_target_sees_later(
    link: Link, proxy: Proxy, settle: Settle
) -> None:
    proxy.stall()
    client = await link.connect()
    client.send(b"request")
    await settle()
    nobody_knocked = nobody_knocks(link.target)
    proxy.heal()
    server = await link.accept()

    assert nobody_knocked
    assert await receive(server, 7) == b"request"
    await pass_on(server, b"answer", client)


async def test_a_stalled_link_does_not_tell_that_the_target_is_down(link: Link, proxy: Proxy, settle: Settle) -> None:
    proxy.stall()
    client = await link.connect()
    link.target.close()
    await settle()
    was_silent = is_silent(client)
    proxy.heal()

    await broken(client)
    assert was_silent


async def test_a_stalled_link_takes_nothing_from_the_sender(link: Link, proxy: Proxy, settle: Settle) -> None:
    client, server = await link.open()
    proxy.stall()
    sent = fill(client)
    await settle()
    more = fill(client)
    proxy.heal()

    assert more == 0
    assert len(await receive(server, sent)) == sent


async def test_a_link_that_stalls_again_and_again_keeps_all_in_order(link: Link, proxy: Proxy, settle: Settle) -> None:
    """Each stall finds the reader with as much as it reads at once, and the sender blocked."""
    client, server = await link.open()
    sending = asyncio.create_task(send(client, PAYLOAD))
    received = bytearray()
    while len(received) < len(PAYLOAD):
        received += await receive(server, min(MEGABYTE, len(PAYLOAD) - len(received)))
        proxy.stall()
        await settle()
        proxy.heal()
    await sending

    assert received == PAYLOAD


async def test_mute_lets_requests_through_and_no_answer_ever(link: Link, proxy: Proxy, settle: Settle) -> None:
    client, server = await link.open()
    proxy.mute()
    later_client, later_server = await link.open()
    for source, sink in ((client, server), (later_client, later_server)):
        await pass_on(source, b"request", sink)
        sink.send(b"answer")
    later_server.shutdown(socket.SHUT_WR)
    await settle()
    was_silent = is_silent(client), is_silent(later_client)
    proxy.heal()

    assert was_silent == (True, True)
    for end in (client, server, later_client, later_server):
        await broken(end)
    await link.carries()


async def test_a_muted_link_does_not_tell_that_the_target_is_gone(link: Link, proxy: Proxy, settle: Settle) -> None:
    client, server = await link.open()
    proxy.mute()
    break_off(server)
    link.target.close()
    late = await link.connect()
    for _ in range(3):
        client.send(b"request")
        late.send(b"request")
        await settle()
    was_silent = is_silent(client), is_silent(late)
    proxy.heal()

    assert was_silent == (True, True)
    await broken(client)
    await broken(late)


async def test_a_client_that_leaves_a_muted_link_leaves_the_target(link: Link, proxy: Proxy) -> None:
    client, server = await link.open()
    proxy.mute()
    break_off(client)

    await broken(server)


async def test_lag_delays_each_way(link: Link, proxy: Proxy) -> None:
    loop = asyncio.get_running_loop()
    client, server = await link.open()
    proxy.lag(0.1)
    began = loop.time()
    await pass_on(client, b"request", server)
    between = loop.time()
    await pass_on(server, b"answer", client)
    server.shutdown(socket.SHUT_WR)
    turned = loop.time()
    end = await receive(client, 1)

    assert end == b""
    assert min(between - began, turned - between, loop.time() - turned) >= 0.1


async def test_what_lags_comes_in_order_and_not_one_after_the_other(link: Link, proxy: Proxy) -> None:
    loop = asyncio.get_running_loop()
    client, server = await link.open()
    proxy.lag(0.2)
    began = loop.time()
    sending = asyncio.create_task(send(client, PAYLOAD[:MEGABYTE]))
    received = await receive(server, MEGABYTE)
    await sending

    assert received == PAYLOAD[:MEGABYTE]
    assert 0.2 <= loop.time() - began < 2.0  # sixteen chunks


async def test_healing_delivers_at_once_what_lags(link: Link, proxy: Proxy, settle: Settle) -> None:
    client, server = await link.open()
    proxy.lag(3600)
    client.send(b"request")
    await settle()
    was_silent = is_silent(server)
    proxy.heal()

    assert was_silent
    assert await receive(server, 7) == b"request"


async def test_healing_finds_out_that_the_target_is_gone(link: Link, proxy: Proxy, settle: Settle) -> None:
    client, server = await link.open()
    proxy.lag(3600)
    client.send(b"request")
    await settle()
    proxy.stall()
    break_off(server)
    await settle()
    was_silent = is_silent(client)
    proxy.heal()

    await broken(client)
    assert was_silent


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_fault_may_be_repeated_and_healed_twice(
    link: Link, proxy: Proxy, fault: Callable[[Proxy], None]
) -> None:
    await link.open()
    fault(proxy)
    fault(proxy)
    proxy.heal()
    proxy.heal()

    await link.carries()


async def test_one_healing_ends_all_faults(link: Link, proxy: Proxy) -> None:
    client, server = await link.open()
    for fault in FAULTS.values():
        fault(proxy)
    proxy.heal()

    await broken(client)
    await broken(server)
    await link.carries()


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_stopping_leaves_nothing_behind(sockets: ExitStack, fault: Callable[[Proxy], None]) -> None:
    link = Link(sockets)
    tasks, files = asyncio.all_tasks(), open_files()
    await link.proxy.start()
    with ExitStack() as link.sockets:
        await link.open()
        client, _ = await link.open()
        fill(client)
        fault(link.proxy)
        await link.proxy.stop()
        link.proxy.heal()
        with pytest.raises(ConnectionRefusedError):
            await link.connect()

    assert link.proxy.connections == 0
    assert (asyncio.all_tasks(), open_files()) == (tasks, files)
