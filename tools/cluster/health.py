"""Who leads in a cluster, and whether all of it is as it was at first: nothing missing, nothing behind."""

import asyncio
import json
import time
from typing import Any

from tools.cluster.cluster import Cluster
from tools.cluster.nodes import Node
from tools.faults.plan import QUEUES
from tools.stack.errors import StackError
from tools.stack.http import call

# Until a standby that was away has caught up, or was copied anew.
_HEALTHY_SECONDS = 90.0
_SEARCH_SECONDS = 20.0
_POLL_SECONDS = 0.5
_COLUMNS = ("name", "messages_unacknowledged", "leader", "online")


async def lacking(cluster: Cluster) -> str:
    """Waits until nothing is; after 90 s the first of what still is, in words."""
    until = time.monotonic() + _HEALTHY_SECONDS
    while (found := await _look(cluster)) and time.monotonic() < until:  # noqa: ASYNC110  # nothing announces it
        await asyncio.sleep(_POLL_SECONDS)
    return found


async def leader(cluster: Cluster, what: str) -> Node:
    """The node that leads a queue, or the nodes of a sort. Raises StackError if none does for 20 s."""
    until = time.monotonic() + _SEARCH_SECONDS
    while time.monotonic() < until:
        for row in await queues(cluster) if what in QUEUES else ():
            if row["name"] == what:
                return cluster.nodes[row["leader"].partition("@")[2]]
        for name, node in cluster.nodes.items():
            if name.startswith(f"{what}-") and await leads(node):
                return node
        await asyncio.sleep(_POLL_SECONDS)
    raise StackError(f"no node leads {what}")


async def leads(node: Node) -> bool:
    if not node.name.startswith("etcd-"):
        return await node.role() in ("primary", "master")
    status = (await call("POST", f"http://{node.address}:2379/v3/maintenance/status", {})).body
    return bool(status["leader"] == status["header"]["member_id"])


async def queues(cluster: Cluster) -> list[dict[str, Any]]:
    """Every queue with its leader, the nodes that have a copy of it, and how many messages are not acknowledged.

    Raises OSError where rabbitmqctl fails or is too slow.
    """
    try:
        up = [node for node in cluster.rabbitmq if await node.answers()] or cluster.rabbitmq
        listed = await up[0].control("list_queues", "--silent", "--formatter", "json", *_COLUMNS)
    except StackError as error:
        raise OSError(str(error)) from error
    found: list[dict[str, Any]] = json.loads(listed)
    return found


async def _look(cluster: Cluster) -> str:
    nodes = cluster.nodes.values()
    answers = await asyncio.gather(*(node.answers() for node in nodes))
    if down := [node.name for node, is_up in zip(nodes, answers, strict=True) if not is_up]:
        return f"{', '.join(down)} not up"
    try:
        members = (await call("GET", f"http://{cluster.postgres[0].address}:8008/cluster")).body["members"]
        streaming = [each for each in members if each["state"] in ("running", "streaming") and not each.get("lag")]
        roles = sorted(each["role"] for each in streaming)
        if roles != ["leader", "replica", "sync_standby"] or len({each["timeline"] for each in streaming}) > 1:
            return f"PostgreSQL: {members}"
        if sorted([await node.role() for node in cluster.redis]) != ["master", "master", "slave", "slave"]:
            return "Redis: not one primary and one replica each"
        # Last, because it costs most.
        complete = {row["name"] for row in await queues(cluster) if len(row["online"] or ()) == len(cluster.rabbitmq)}
    except OSError as error:
        return repr(error)
    return "" if complete.issuperset(QUEUES) else f"not on all nodes: {sorted(set(QUEUES) - complete)}"
