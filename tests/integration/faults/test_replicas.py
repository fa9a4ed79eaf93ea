"""What a service's process breaks of its promises is noted."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tools.faults.replicas import Replica
from tools.stack import ports
from tools.stack.services import Service

SERVES_AND_ENDS_WITH_3 = """
import os, signal
from http.server import BaseHTTPRequestHandler, HTTPServer

class Live(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b"{}")

signal.signal(signal.SIGTERM, lambda *_: os._exit(3))
HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Live).serve_forever()
"""


@pytest.fixture
def complaints() -> list[str]:
    return []


@pytest.fixture
async def replica(tmp_path: Path, complaints: list[str]) -> AsyncIterator[Replica]:
    (tmp_path / "rude.py").write_text(SERVES_AND_ENDS_WITH_3)
    environment = {"PORT": str(ports.choose())}
    service = Service("rude-1", environment, tmp_path, program="rude", source=tmp_path, tied=True)
    replica = Replica(service, complaints)
    await replica.start()
    yield replica
    await replica.kill()


async def test_one_that_does_not_end_with_0_is_complained_of(replica: Replica, complaints: list[str]) -> None:
    await replica.stop()
    assert complaints == ["rude-1 ended with status 3 after SIGTERM"]


async def test_one_that_is_killed_is_not(replica: Replica, complaints: list[str]) -> None:
    await replica.kill()
    await replica.stop()
    assert complaints == []
