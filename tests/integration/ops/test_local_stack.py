"""`make ops`: the tools with the addresses of the stack that runs."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from tests.broker import Vhost
from tools.stack.services import ROOT

CALL = """
import sys
from pathlib import Path
from tools.ops import run
from tools.terminal import exit_status
sys.exit(exit_status(lambda: run(sys.argv[2:], Path(sys.argv[1]))))
"""


async def make_ops(description: Path, *arguments: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CALL, str(description), *arguments, cwd=ROOT, env={}, stdout=PIPE, stderr=PIPE
    )
    async with asyncio.timeout(20):
        stdout, stderr = await process.communicate()
    return process.returncode, stdout.decode(), stderr.decode()


async def test_every_command_finds_its_servers(
    vhost: Vhost, products_database_url: str, orders_database_url: str, tmp_path: Path
) -> None:
    await vhost.declare()
    urls = {"rabbitmq": vhost.url, "products-db": products_database_url, "orders-db": orders_database_url}
    description = tmp_path / "stack.json"
    description.write_text(json.dumps({name: {"url": url, "pid": 1} for name, url in urls.items()}))

    for command in (("dead-letters", "list"), ("reconcile",), ("outbox",)):
        status, stdout, stderr = await make_ops(description, *command, "--json")
        assert (status, stderr) == (0, "")
        assert json.loads(stdout)


async def test_without_a_stack_it_says_so(tmp_path: Path) -> None:
    status, stdout, stderr = await make_ops(tmp_path / "stack.json", "outbox")

    assert (status, stdout, stderr) == (1, "", "the system is not up (make up starts it)\n")
