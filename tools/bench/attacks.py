"""Attacks a local stack in one way after the other, and shows what a polite client has of the gateway meanwhile.

Each attack meets a new gateway, on loopback. The polite client sends by the clock, each request on a connection of its
own: first alone, then beside the attacker. That is a process which gives way to all others (`nice`): in life it has a
machine of its own, and its CPU must not be what slows the polite client down.
"""

import asyncio
import json
import multiprocessing
import os
import re
import socket
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

from gateway.keys import entry_of, make_key
from shared.web.server import raise_open_files
from tools.bench import costs
from tools.bench.measurement import Report
from tools.bench.overload import Probe, percentile
from tools.stack.http import ask
from tools.stack.ports import LOOPBACK
from tools.stack.stack import Stack
from tools.terminal import say

# Seconds for opening an attack's connections, which then begin at once; and until one that was lost is opened again.
DIALLING, PAUSE = 2.0, 1.0
LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n", re.IGNORECASE)
MOST_TIMES = 2.0  # its p95 alone: what the polite client's may be beside a fair attack
POLITE, RUDE = make_key(), make_key()
SCOPES = ("orders:read", "orders:write")
KEYS = f"{entry_of('polite', POLITE, SCOPES)};{entry_of('rude', RUDE, SCOPES)}"
MIXED = ("POST /orders", "GET /orders/{order}", "GET /orders?limit=10", "GET /health/ready")
WAITING = ("POST /orders", "GET /orders/{order}?wait=5", "GET /orders/{order}/events")


class Script(NamedTuple):
    """A connection sends `first`, then `flood` as long as it can; it closes if it is refused, or does it `again`."""

    first: str
    flood: bytes = b""
    again: bool = False


class Attack(NamedTuple):
    """With `keys` the gateway asks for API keys. The polite client's own address is LOOPBACK."""

    connections: int
    scripts: tuple[Script, ...]
    polite: tuple[str, ...] = MIXED
    keys: bool = False
    address: str = "127.0.0.2"


START, END = " HTTP/1.1\r\nHost: shop\r\n", f"X-API-Key: {RUDE}\r\n\r\n"
STREAM = Script(f"GET /orders/{{order}}/events{START}{END}")
LIST = Script(f"GET /orders?productId={{product}}&limit=100{START}{END}", again=True)
BODY = "x" * 2**16
BODIES = (
    Script(f"POST /orders{START}Content-Length: {len(BODY)}\r\n\r\n{BODY}", again=True),
    Script(f"POST /orders{START}Transfer-Encoding: chunked\r\n\r\n", f"{len(BODY):x}\r\n{BODY}\r\n".encode()),
    Script(f"POST /orders{START}Content-Length: 1\r\nContent-Length: 2\r\n\r\n", BODY.encode()),
)
ATTACKS = {
    "connections, silent": Attack(2_500, (Script(""),)),
    "connections, used once": Attack(2_500, (Script(f"GET /health/live{START}\r\n"),)),
    "memory, without a key": Attack(1_900, BODIES, keys=True),  # the gateway takes 2,000 connections
    "streams": Attack(300, (STREAM,), WAITING),
    "streams, same address": Attack(300, (STREAM,), WAITING, keys=True, address=LOOPBACK),
    "lists": Attack(400, (LIST,)),
    "lists, same address": Attack(400, (LIST,), keys=True, address=LOOPBACK),
}
KINDS = ("all", *dict.fromkeys(name.partition(",")[0] for name in ATTACKS))


def run(url: str, address: str, scripts: list[Script], seconds: float) -> tuple[Counter[str], float]:
    """The attacker's process: returns what it got, and its seconds of CPU."""
    raise_open_files(len(scripts))
    began = time.process_time()
    return uvloop.run(play_all(int(url.rpartition(":")[2]), address, scripts, seconds)), time.process_time() - began


async def play_all(port: int, address: str, scripts: list[Script], seconds: float) -> Counter[str]:
    """Each on a connection. Counts the bytes `sent`, the connections `open` in the end, and the answers by status."""
    got: Counter[str] = Counter(sent=0, open=0)
    begin = time.monotonic() + DIALLING

    async def keep(script: Script) -> None:
        while True:
            with suppress(OSError):
                streams = await asyncio.open_connection(LOOPBACK, port, local_addr=(address, 0))
                got["open"] += 1
                # Else megabytes of each wait in the kernel, and the gateway's close frees them at the gateway's cost.
                streams[1].get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**16)
                with closing(streams[1]), suppress(OSError, EOFError):
                    await asyncio.sleep(begin - time.monotonic())
                    await play(script, *streams, got)
                got["open"] -= 1
            await asyncio.sleep(PAUSE)

    with suppress(TimeoutError):
        async with asyncio.timeout(DIALLING + seconds):
            await asyncio.gather(*map(keep, scripts))
    return got


async def play(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, got: Counter[str]) -> None:
    """Raises OSError or EOFError when the other side ends it."""
    first, status = script.first.encode(), ""
    while not status or script.again:
        writer.write(first)
        got["sent"] += len(first)
        while script.flood:
            await writer.drain()
            await asyncio.sleep(0)  # a connection that is never held up must not hold up the others
            writer.write(script.flood)
            got["sent"] += len(script.flood)
        head = await reader.readuntil(b"\r\n\r\n")
        length = LENGTH.search(head)
        await reader.readexactly(int(length[1]) if length else 0)
        status = head.split()[1].decode()
        got[status] += 1
    while status == "200" and await reader.read(2**16):
        pass


async def one(folder: Path, attack: Attack, seconds: int) -> dict[str, Any]:
    """Returns the figures; where one is two, the first is without the attack."""
    stack = Stack(folder, {}, {"API_KEYS": KEYS} if attack.keys else {})
    parts = {part.name: part for part in await stack.up()}
    tea = {"name": "Tea", "price": "2.50", "qty": 1_000_000}
    product = (await ask(HTTPStatus.CREATED, "POST", f"{parts['products'].url}/products", tea))["data"]["id"]
    held = {"productId": product, "quantity": 1, "holdSeconds": 3600}
    *_, answer = [await ask(HTTPStatus.CREATED, "POST", f"{parts['orders'].url}/orders", held) for _ in range(100)]
    ids = {"product": product, "order": answer["data"]["id"]}
    gateway, loop = parts["gateway"], asyncio.get_running_loop()

    async def use() -> dict[str, float]:
        requests = [request.format_map(ids) for request in attack.polite]
        probe, over = Probe(gateway.url, requests, {"X-API-Key": POLITE}, new_connections=True), asyncio.Event()
        loop.call_later(seconds, over.set)
        await probe.watch([product], over)
        figures = {"answered": len(probe.accepted), "refused": len(probe.refused), "broken": probe.broken}
        times = {f"p{percent} ms": percentile(probe.accepted, percent) for percent in (50, 95)}
        used = costs.usage({"gateway": gateway.server.daemon.pid or 0})["gateway"]
        return figures | times | {"gateway's peak MiB": used.largest / costs.MIB}

    scripts = [script._replace(first=script.first.format_map(ids)) for script in attack.scripts]
    scripts = [scripts[number % len(scripts)] for number in range(attack.connections)]
    alone = await use()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        await loop.run_in_executor(pool, os.nice, 10)
        attacking = loop.run_in_executor(pool, run, gateway.url, attack.address, scripts, seconds)
        await asyncio.sleep(DIALLING)
        beside = await use()
        got, cpu_seconds = await attacking
    await gateway.server.stop()
    fair = not beside["refused"] + beside["broken"] and beside["p95 ms"] <= MOST_TIMES * alone["p95 ms"]
    figures = {name: [figure, beside[name]] for name, figure in alone.items()} | {"fair": fair}
    kept, sent = got.pop("open"), got.pop("sent") / costs.MIB
    return figures | {"kept": kept, "sent MiB": sent, "cores": cpu_seconds / seconds, "answers": dict(got)}


def text(figure: object) -> str:
    if isinstance(figure, dict):
        return ", ".join(f"{name} {text(value)}" for name, value in figure.items())
    if isinstance(figure, list):
        return " → ".join(map(text, figure))
    return f"{figure:,.1f}" if isinstance(figure, float) else str(figure)


async def measure(kind: str, seconds: int, *, as_json: bool) -> Report:
    """Shows each when it is over. Not passed if one was not fair: a request of the polite client was refused or
    failed, or its p95 was above MOST_TIMES that alone.
    """
    fair = True
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            for name, attack in ATTACKS.items():
                if kind in {"all", name.partition(",")[0]}:
                    figures = {"attack": name, **await one(Path(folder), attack, seconds)}
                    say(json.dumps(figures) if as_json else text(figures))
                    fair &= figures["fair"]
        finally:
            await Stack(Path(folder)).clean()
    return [], fair
