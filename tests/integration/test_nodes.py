"""Nodes of the cluster: what kills, freezes and cuts off one of them, and leaves the others alone."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tools.cluster.nodes import HOST, NETWORK, Node, make_namespaces, remove_namespaces
from tools.stack.errors import StackError
from tools.stack.processes import Command

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nft"), reason="needs root and nftables")


class Small(Node):
    start_seconds = 30.0
    stop_seconds = 5.0

    def program(self) -> Command:
        return Command((sys.executable, "-m", "http.server", "8000"), {}, Path("/srv"))

    async def answers(self) -> bool:
        try:
            async with asyncio.timeout(0.5):
                reader, writer = await asyncio.open_connection(self.address, 8000)
                try:
                    writer.write(b"HEAD / HTTP/1.0\r\n\r\n")
                    return bool(await reader.read(1))
                finally:
                    writer.close()
        except OSError:
            return False

    async def reaches(self, other: Node) -> bool:
        fetch = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=0.5)"
        try:
            await self.run(sys.executable, "-c", fetch, f"http://{other.name}:8000")
        except StackError:
            return False
        return True


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[list[Small]]:
    nodes = [Small(f"test-{number}", f"{NETWORK}.{200 + number}", tmp_path) for number in (1, 2)]
    await make_namespaces(nodes)
    for node in nodes:
        await node.start()
    yield nodes
    for node in nodes:
        await node.kill()
    await remove_namespaces(nodes)


async def test_a_node_is_cut_off_from_its_peers_or_from_its_clients_alone(nodes: list[Small]) -> None:
    first, second = nodes

    await first.cut([second.address])
    from_peer = (await first.answers(), await first.reaches(second), await second.reaches(first))
    await first.cut([HOST])
    from_client = (await first.answers(), await first.reaches(second), await second.reaches(first))
    await first.heal()
    healed = (await first.answers(), await first.reaches(second), await second.reaches(first))

    assert (from_peer, from_client, healed) == ((True, False, False), (False, True, True), (True, True, True))


async def test_a_frozen_node_goes_on_when_it_is_thawed_and_can_be_stopped(nodes: list[Small]) -> None:
    first, second = nodes

    first.freeze()
    frozen = (await first.answers(), await second.answers())
    first.thaw()
    thawed = await first.answers()
    first.freeze()
    await first.stop()

    assert (frozen, thawed, first.pids()) == ((False, True), True, [])


async def test_a_program_that_ends_is_started_again_and_a_killed_node_is_not(nodes: list[Small]) -> None:
    first, second = nodes
    before = first.pids()

    await first.restart(signal.SIGKILL)
    after = first.pids()
    await first.kill()

    assert before[0] == after[0]
    assert set(before[1:]).isdisjoint(after)
    assert first.pids() == []
    assert await second.answers()
