"""Who asked stands in every log line of a request at the gateway; a log that cannot be written stops nothing."""

import asyncio
import fcntl
import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from gateway.keys import entry_of, make_key
from gateway.scopes import Scope
from tests.api import connect
from tests.e2e.programs import program
from tests.e2e.test_start import DEAD, NEEDED
from tests.integration.shared.web.raw import connected
from tests.waiting import eventually
from tools.stack import ports

# An answer 304, since of refusals most lines are left out: twelve thousand lines fill the queue of a process.
KNOWN = "GET /openapi.json HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\nX-Request-ID: {:0128}\r\n\r\n"


def unread_pipe() -> int:
    """Its reader stays open, in this process, and never reads; ten lines fill it."""
    _, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4_096)
    return writer


def full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


async def test_every_line_of_a_request_names_its_client_and_its_key() -> None:
    """On one connection, as of a proxy: what is told of one request is not told of the next."""
    secret, port = make_key(), ports.choose()
    key = f"Authorization: Bearer {secret}"
    requests = [
        ("GET /orders/1", f"X-Forwarded-For: 192.0.2.1\r\n{key}"),
        ("GET /orders/1", "X-Forwarded-For: 192.0.2.2"),
        ("GET /orders/2", f"X-Forwarded-For: 2001:db8:0::1\r\n{key}"),
        ("GET /orders/3", f"X-Forwarded-For: 192.0.2.3\r\n{key}x"),
        ("GET /nothing", f"X-Forwarded-For: 198.51.100.1, 192.0.2.4\r\n{key}"),
        ("GET /nothing", key),
        ("GET no-path", f"X-Forwarded-For: 192.0.2.5\r\n{key}"),
    ]
    settings = {"API_KEYS": entry_of("checkout", secret, [Scope.ORDERS_READ]), "TRUSTED_PROXIES": "127.0.0.0/8"}
    async with program("gateway", environment={**DEAD, **settings, "PORT": str(port)}) as process:
        await eventually(lambda: ports.listens(port), within=20)
        async with connected(port) as peer:
            for line, headers in requests:
                peer.send(f"{line} HTTP/1.1\r\nHost: shop.example\r\n{headers}\r\n\r\n".encode())
                await peer.reply()
        async with connected(port) as peer:
            peer.send(f"GET //orders HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.6\r\n{key}\r\n\r\n".encode())
            await peer.reply()
        process.send_signal(signal.SIGTERM)
        ended = await process.outcome()

    lines = [json.loads(text) for text in ended.stdout.splitlines()]
    of_requests = [line for line in lines if "trace_id" in line]
    assert [(line["event"], line.get("status"), line.get("client"), line.get("key_name")) for line in of_requests] == [
        ("request failed", 503, "192.0.2.1", "checkout"),
        ("request", 503, "192.0.2.1", "checkout"),
        ("request", 401, "192.0.2.2", None),
        ("request failed", 503, "2001:db8::1", "checkout"),
        ("request", 503, "2001:db8::1", "checkout"),
        ("request", 401, "192.0.2.3", None),
        ("request", 404, "192.0.2.4", "checkout"),
        ("request", 404, "127.0.0.1", "checkout"),
        ("request refused", 400, "127.0.0.1", None),
        ("request", 400, "192.0.2.6", None),
    ]
    assert [line for line in lines if line not in of_requests and "client" in line] == []
    assert secret not in ended.stdout


@pytest.mark.parametrize("open_stdout", [unread_pipe, full_disk])
@pytest.mark.parametrize("name", NEEDED)
async def test_a_log_that_cannot_be_written_stops_neither_requests_nor_the_process(
    name: str, open_stdout: Callable[[], int]
) -> None:
    port, stdout = ports.choose(), open_stdout()
    environment = {**DEAD, "PORT": str(port), "LOG_LEVEL": "debug"}
    async with program(name, environment=environment, stdout=stdout) as process:
        os.close(stdout)
        await eventually(lambda: ports.listens(port), within=20)
        async with connect(f"http://127.0.0.1:{port}") as api:
            assert {await api.status("/health/live") for _ in range(100)} == {200}
        process.send_signal(signal.SIGTERM)
        ended = await process.outcome()
    assert (ended.status, ended.stderr) == (0, "")


async def test_a_reader_of_the_log_that_comes_back_learns_how_many_lines_are_missing() -> None:
    port, numbers = ports.choose(), range(15_000)
    reader, stdout = os.pipe()
    lines: list[dict[str, Any]] = []
    async with program("gateway", environment={**DEAD, "PORT": str(port)}, stdout=stdout) as process:
        os.close(stdout)
        await eventually(lambda: ports.listens(port), within=20)
        async with connected(port) as peer:
            for number in numbers:
                peer.send(KNOWN.format(number).encode())
            assert {(await peer.reply()).status for _ in numbers} == {304}
        async with connect(f"http://127.0.0.1:{port}") as api:
            metrics = (await api.get("/metrics")).raw.decode().splitlines()
        with os.fdopen(reader) as pipe:
            while not lines or lines[-1]["event"] != "log lines lost":
                lines.append(json.loads(await asyncio.to_thread(pipe.readline)))
            process.send_signal(signal.SIGTERM)
            await process.outcome()
            later = [json.loads(line)["event"] for line in pipe]

    kept = [int(line["request_id"]) for line in lines if line["event"] == "request"]
    lost = lines[-1]["lines"]
    assert (kept, later) == (list(numbers[: len(kept)]), ["stopping", "stopped"])
    assert 0 < lost == len(numbers) - len(kept)
    assert f"log_lines_lost_total {lost:.1f}" in metrics
