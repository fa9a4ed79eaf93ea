"""What `make attacks` says that an attacker got is what the attacked have seen."""

import asyncio
from collections import Counter
from contextlib import closing, suppress

import pytest

from tools.bench import attacks
from tools.bench.attacks import Script
from tools.stack.ports import LOOPBACK

ADDRESS = "127.0.0.9"


async def test_an_attacker_keeps_what_it_is_given_and_counts_what_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attacks, "DIALLING", 0.0)
    seen: Counter[str] = Counter()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen[writer.get_extra_info("peername")[0]] += 1
        with closing(writer), suppress(OSError, EOFError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                status = head.split()[1].decode()
                seen["sent"] += len(head)
                seen[status] += 1
                writer.write(f"HTTP/1.1 {status} -\r\ncontent-length: 2\r\n\r\n{{}}".encode())

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    scripts = [
        Script(""),
        Script("GET 200 HTTP/1.1\r\n\r\n"),
        Script("GET 429 HTTP/1.1\r\n\r\n"),
        Script("GET 503 HTTP/1.1\r\n\r\n", again=True),
    ]
    got = await attacks.play_all(server.sockets[0].getsockname()[1], ADDRESS, scripts, seconds=0.2)
    server.close()
    # Of these one was refused, and waits before it comes again.
    assert (got.pop("open"), seen.pop(ADDRESS)) == (3, 4)
    assert got["503"] > 1
    assert got.keys() == {"sent", "200", "429", "503"}
    assert all(0 <= seen[name] - count <= len(scripts[-1].first) for name, count in got.items())
