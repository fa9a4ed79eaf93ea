"""Breaks a cluster in every way, one after the other, under load, and judges each time what came of the orders."""

import argparse
import asyncio
import time
from dataclasses import replace
from http import HTTPStatus

from ops.bounds import number, whole
from shared.web.headers import SERVICE_SECRET
from tools.cluster.breaking import cause
from tools.cluster.cluster import Cluster
from tools.cluster.gaps import Played, story, table
from tools.cluster.health import lacking, leader, queues
from tools.cluster.plan import Fault, Kind, draw, rush
from tools.faults import answers, scenario, verdict
from tools.faults.client import clients
from tools.faults.evidence import Breach, Difference
from tools.faults.record import Record
from tools.faults.round import judged
from tools.faults.state import Access
from tools.stack.errors import StackError
from tools.stack.http import ask
from tools.stack.services import STATEFUL
from tools.terminal import say

_MINUTES, _RATE = 20.0, 80.0
# The load before a fault and after everything is healthy again, and at most.
_LEAD, _TAIL, _LONGEST = 5.0, 5.0, 600.0
# In these a service may have died, or a statement may have been held up, between a commit and the drop of what the
# cache had: it may be old for a minute.
_STALE = {Kind.CRASH, Kind.FREEZE, Kind.CUT_PEERS, Kind.CUT_CLIENTS, Kind.SPLIT}


def add_options(parser: argparse.ArgumentParser) -> None:
    kinds = [kind.name.lower() for kind in Kind]
    minutes, rate = number(0.01, 10_080), number(1, 10_000)
    parser.add_argument("--minutes", type=minutes, default=_MINUTES, help=f"begin faults for so long ({_MINUTES:g})")
    parser.add_argument("--seed", type=whole(0, 10**12), default=1, help="of the order in which they come (1)")
    parser.add_argument("--rate", type=rate, default=_RATE, help=f"requests a second ({_RATE:g})")
    parser.add_argument("--kinds", nargs="+", choices=kinds, default=kinds, help="break it only in these ways (all)")


async def run(cluster: Cluster, options: argparse.Namespace) -> int:
    """The exit status: 0 if faults were caused and every promise was kept. Raises StackError."""
    await cluster.up()
    faults: list[Played] = []
    until = time.monotonic() + options.minutes * 60
    try:
        for fault in draw(options.seed, {Kind[name.upper()] for name in options.kinds}):
            if time.monotonic() >= until:
                break
            played = await play(cluster, fault, options.seed + len(faults), options.rate)
            # What an earlier fault has left behind is seen again; a key without ids is not of one thing.
            known = {found.key for earlier in faults for found in earlier.differences if any(found.key[1:])}
            played.differences = [found for found in played.differences if found.key not in known]
            faults.append(played)
            say(story(played))
    finally:
        say(table(faults))
    return 0 if faults and not any(list(played.breaches) for played in faults) else 1


async def play(cluster: Cluster, fault: Fault, seed: int, rate: float) -> Played:
    """Load for some seconds, the fault, load until some seconds after all is healthy again; then the verdict."""
    access = await _access(cluster)
    seed += access.last_product * 1000  # keys and references are made of it, and may be used once in a cluster
    record = Record(rush(seed, _LONGEST) if fault.kind is Kind.ROLL else scenario.draw(seed, _LONGEST, (), rate=rate))
    played, failure = Played(fault, record), ""
    async with clients(cluster.gateway_url, record) as driving, asyncio.TaskGroup() as tasks:
        await driving.create_products()
        started, record.began = time.monotonic(), time.time()
        tasks.create_task(driving.drive(started), name="clients")
        await asyncio.sleep(_LEAD)
        played.began = time.monotonic() - started
        try:
            await cause(cluster, fault)
        except (StackError, OSError) as error:
            failure = str(error)
        healed = time.monotonic()
        failure = await lacking(cluster) or failure
        played.healthy = time.monotonic() - healed
        await asyncio.sleep(_TAIL)
        driving.finish()
    rules = [*verdict.STORED_RULES, *([] if fault.kind in _STALE else [answers.replicas_show_what_is_stored])]
    found = await _access(cluster)  # Redis may have another primary
    access = replace(found, last_order=access.last_order, last_product=access.last_product)
    differences, state = await judged(access, record, rules=rules)
    played.orders = state.orders if state else {}
    played.differences = [*([Difference(Breach.READINESS, failure)] if failure else ()), *differences]
    return played


async def _access(cluster: Cluster) -> Access:
    """Where the cluster is read now, past its door, and what was there before."""
    redises = {f"{name}-redis": await leader(cluster, f"{name}-redis") for name in STATEFUL}

    async def unacknowledged() -> dict[str, int]:
        return {row["name"]: row["messages_unacknowledged"] for row in await queues(cluster)}

    return Access(
        services={replica.name: replica.url for replica in cluster.replicas},
        databases={f"{name}-db": url for name, url in cluster.operator_url.items()},
        redises={name: f"redis://{node.address}:6379/0" for name, node in redises.items()},
        broker=cluster.amqp_url,
        unacknowledged=unacknowledged,
        logs={replica.name: replica.daemon.log for replica in cluster.replicas},
        headers={SERVICE_SECRET: cluster.service_secret},
        last_order=await _last(f"{cluster.gateway_url}/orders"),
        last_product=await _last(f"{cluster.gateway_url}/products"),
    )


async def _last(url: str) -> int:
    """The highest number in a list; 0 if it is empty."""
    rows = (await ask(HTTPStatus.OK, "GET", f"{url}?limit=1"))["data"]
    return rows[0]["id"] if rows else 0
