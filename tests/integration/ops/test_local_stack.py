"""`make ops`: the tools with the addresses of the stack that runs."""

import json
import sys
from pathlib import Path

from tests.broker import Vhost
from tests.databases import as_operator
from tools.stack.jobs import finish
from tools.stack.services import ROOT

CALL = """
import sys
from pathlib import Path
from tools.ops import run
from tools.terminal import exit_status
sys.exit(exit_status(lambda: run(sys.argv[2:], Path(sys.argv[1]))))
"""


async def make_ops(description: Path, *arguments: str) -> str:
    command = (sys.executable, "-c", CALL, str(description), *arguments)
    return await finish("make ops", command, 20, folder=ROOT, environment={})


async def test_every_command_finds_its_servers(
    vhost: Vhost, products_database_url: str, orders_database_url: str, tmp_path: Path
) -> None:
    await vhost.declare()
    urls = {"rabbitmq": vhost.url, "products-db": products_database_url, "orders-db": orders_database_url}
    description = tmp_path / "stack.json"
    parts = {name: {"url": url, "operator": as_operator(url), "pid": 1} for name, url in urls.items()}
    description.write_text(json.dumps(parts))

    for command in (("dead-letters", "list"), ("reconcile",), ("outbox",), ("repair",)):
        assert json.loads(await make_ops(description, *command, "--json"))
