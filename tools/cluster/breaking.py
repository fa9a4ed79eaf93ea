"""Faults, brought about in a running cluster and healed, and restarts that should be no faults."""

import asyncio
import signal
from collections.abc import Iterable, Sequence
from contextlib import suppress

import psutil

from tools.cluster.cluster import Cluster
from tools.cluster.health import lacking, leader, leads
from tools.cluster.nodes import HOST, Node
from tools.cluster.plan import SERVICES, Fault, Kind
from tools.cluster.servers import Postgres
from tools.stack.errors import StackError
from tools.stack.http import call
from tools.stack.postgres import SYSTEM_USER
from tools.stack.services import NAMES, STATEFUL

_LIMIT = 'for pid; do prlimit --pid "$pid" --fsize="$0" || :; done'
_PEERS = ("postgres", "etcd")
# In the order in which they are upgraded, as NAMES are: consumers first, what clients meet last.
_SERVERS = ("etcd", "rabbit", "sentinel", "products-redis", "orders-redis", "postgres", "proxy")
# After the restart of a node, as a roll-out has it (Kubernetes: minReadySeconds): whoever looks at it each second
# sends it requests again.
_READY_SECONDS = 4.0
_HANDOVER_SECONDS = 30.0
_POLL_SECONDS = 0.2


async def cause(cluster: Cluster, fault: Fault) -> None:
    """Breaks it, waits, and heals it; what was killed runs again at the end. Raises StackError."""
    if fault.kind is Kind.ROLL:
        for sort in NAMES if fault.target == SERVICES else _SERVERS:
            await _roll(cluster, sort)
        return
    of = fault.target.partition(" of ")[2]
    node = await leader(cluster, of) if of else cluster.nodes[fault.target]
    broken = await _minority(cluster, node) if fault.kind is Kind.SPLIT else [node]
    try:
        for node in broken:
            await _break(cluster, fault.kind, node, broken)
        await asyncio.sleep(fault.seconds)
    finally:
        for node in broken:
            await _heal(fault.kind, node)


def sort_of(name: str) -> str:
    return name.rpartition("-")[0]


async def _break(cluster: Cluster, kind: Kind, node: Node, broken: Sequence[Node]) -> None:
    match kind:
        case Kind.KILL_POSTGRES:
            _first(node, "postgres").kill()  # its children end when they miss it
        case Kind.CRASH:
            await node.restart(signal.SIGKILL)
        case Kind.KILL:
            await node.kill()
        case Kind.FREEZE:
            node.freeze()
        case Kind.DISK_FULL:
            await _limit_files(node, "0")
        case Kind.CUT_PEERS:
            await node.cut(_addresses(cluster, _PEERS, broken))
        case Kind.CUT_CLIENTS:
            await node.cut([HOST, *_addresses(cluster, STATEFUL, broken)])
        case Kind.SPLIT:
            await node.cut([HOST, *_addresses(cluster, map(sort_of, cluster.nodes), broken)])


async def _heal(kind: Kind, node: Node) -> None:
    match kind:
        case Kind.KILL:
            await node.start()
        case Kind.FREEZE:
            node.thaw()
        case Kind.DISK_FULL:
            await _limit_files(node, "unlimited")
        case Kind.CUT_PEERS | Kind.CUT_CLIENTS | Kind.SPLIT:
            await node.heal()


async def _minority(cluster: Cluster, primary: Node) -> list[Node]:
    """One node of each sort but the door for clients: what leads, where one of them does."""
    found = {"postgres": primary}
    for name, node in cluster.nodes.items():
        if sort_of(name) not in found or (sort_of(name) != "postgres" and await leads(node)):
            found[sort_of(name)] = node
    del found["proxy"]
    return list(found.values())


def _addresses(cluster: Cluster, sorts: Iterable[str], without: Sequence[Node]) -> list[str]:
    wanted = set(sorts)
    return [node.address for name, node in cluster.nodes.items() if sort_of(name) in wanted and node not in without]


def _first(node: Node, program: str) -> psutil.Process:
    """The process of a program from which the others of it come."""
    for process in map(psutil.Process, node.pids()):
        parent = process.parent()
        if process.name() == program and (parent is None or parent.name() != program):
            return process
    raise StackError(f"no {program} runs on {node.name}")


async def _limit_files(node: Node, size: str) -> None:
    """No process of the node, nor any that it starts, may write beyond that size of a file.

    It is the user of the processes who limits them: root may be denied that.
    """
    user = ("setpriv", f"--reuid={SYSTEM_USER}", f"--regid={SYSTEM_USER}", "--init-groups")
    limited = {node.daemon.pid}  # the supervisor writes nothing but what has ended
    while new := set(node.pids()) - limited:  # those that were started meanwhile
        await node.run(*user, "sh", "-c", _LIMIT, f"{size}:", *map(str, new))
        limited |= new


async def _roll(cluster: Cluster, sort: str) -> None:
    """Restarts the nodes of a sort, each when everything is healthy again; what leads hands over first."""
    nodes = [node for name, node in cluster.nodes.items() if sort_of(name) == sort]
    first = [node for node in nodes if sort == "etcd" or not await leads(node)]
    for node in sorted(nodes, key=lambda node: node not in first):
        if node not in first:
            await _hand_over(cluster, node)
        if sort == "proxy":
            _first(node, "haproxy").send_signal(signal.SIGUSR2)  # it starts anew and keeps the door open meanwhile
        else:
            await node.restart()
        await _expect_health(cluster, f"the restart of {node.name}")
        await asyncio.sleep(_READY_SECONDS if sort in NAMES else 0)


async def _hand_over(cluster: Cluster, node: Node) -> None:
    """Another node leads when it returns."""
    if isinstance(node, Postgres):
        url = f"http://{node.address}:8008/switchover"
        with suppress(OSError):  # it answers in words, which are no JSON
            await call("POST", url, {"leader": node.name}, limit=_HANDOVER_SECONDS)
    else:
        name = node.name.partition("-")[0]
        sentinel = cluster.sentinels[0]
        await sentinel.run("redis-cli", "-h", sentinel.address, "-p", "26379", "sentinel", "failover", name)
    async with asyncio.timeout(_HANDOVER_SECONDS):
        while await leads(node):  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(_POLL_SECONDS)
    await _expect_health(cluster, f"{node.name} has handed over")


async def _expect_health(cluster: Cluster, after: str) -> None:
    if found := await lacking(cluster):
        raise StackError(f"after {after}: {found}")
