"""The three services as processes: what each is told, and when it is ready."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from tools.stack.http import call
from tools.stack.ports import LOOPBACK
from tools.stack.processes import Command, Daemon
from tools.stack.servers import Servers

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
NAMES = ("products", "orders", "gateway")
START_SECONDS = 60.0
# They promise to end within 20 s of SIGTERM.
STOP_SECONDS = 25.0


class Service:
    def __init__(
        self,
        name: str,
        environment: Mapping[str, str],
        folder: Path,
        *,
        program: str | None = None,
        source: Path = SOURCE,
        tied: bool = False,
    ) -> None:
        """`environment` has at least PORT; all that it prints goes to `folder`/log/`name`.log.

        `program` is one of NAMES, for a replica that has another name; `source` is the folder of its package.
        """
        self.daemon = Daemon(name, folder, tied=tied)
        self.url = f"http://{environment.get('HOST', LOOPBACK)}:{environment['PORT']}"
        self._environment = environment
        self._program = program or name
        self._source = source

    @property
    def started_here(self) -> bool:
        return self.daemon.started_here

    def launch(self) -> None:
        """Starts it and does not wait."""
        self.daemon.start(self._command())

    async def start(self) -> None:
        """Leaves one that runs with the same settings as it is; returns when every check of it is ok."""
        if not self.daemon.runs(self._command()):
            await self.stop()
            self.launch()
        await self.daemon.ready(self.answers, START_SECONDS)

    async def stop(self) -> None:
        await self.daemon.stop(limit=STOP_SECONDS)

    async def answers(self) -> bool:
        """Whether every check is ok: one that serves without its broker or cache is not up."""
        checks = await self.checks()
        return checks is not None and set(checks.values()) == {"ok"}

    async def checks(self) -> dict[str, str] | None:
        """What it says of each part that it needs; None if it does not answer."""
        try:
            answer = await call("GET", f"{self.url}/health/ready")
            return dict(answer.body["data"]["checks"])
        except (OSError, KeyError, TypeError):
            return None

    def _command(self) -> Command:
        own = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(self._source),
        }
        return Command((sys.executable, "-m", self._program), {**own, **self._environment}, ROOT)


def start(name: str, environment: Mapping[str, str], folder: Path) -> Service:
    """For tests: started, not awaited, and ended with the caller; `await service.start()` waits until it is ready."""
    service = Service(name, environment, folder, tied=True)
    service.launch()
    return service


def environments(servers: Servers, passwords: Mapping[str, str], port: Mapping[str, int]) -> dict[str, dict[str, str]]:
    """What each service is told."""
    shared = {"HOST": LOOPBACK, "LOG_LEVEL": os.environ.get("LOG_LEVEL", "info")}
    products_url, orders_url = (f"http://{LOOPBACK}:{port[name]}" for name in ("products", "orders"))
    told = {
        "products": {"REDIS_URL": servers.products_redis.url},
        "orders": {"REDIS_URL": servers.orders_redis.url, "PRODUCTS_URL": products_url},
        "gateway": {"PRODUCTS_URL": products_url, "ORDERS_URL": orders_url},
    }
    for name in ("products", "orders"):
        told[name]["DATABASE_URL"] = servers.postgres.database_url(name, passwords[name], name)
        told[name]["AMQP_URL"] = servers.rabbitmq.url
    return {name: {**shared, "PORT": str(port[name]), **told[name]} for name in NAMES}
