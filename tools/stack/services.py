"""The three services as processes: their environments, when they are ready, and the migrations of their schemas."""

import dataclasses
import importlib
import os
import sys
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

from tools.stack import jobs
from tools.stack.http import call
from tools.stack.parts import SILENT, Server
from tools.stack.ports import LOOPBACK
from tools.stack.processes import Command
from tools.stack.servers import Servers

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
STATEFUL = ("products", "orders")
"""Those with a database and a Redis of their own."""
NAMES = (*STATEFUL, "gateway")
MIGRATION_SECONDS = 60.0


class Service(Server):
    start_seconds = 60.0
    # A service promises to end within 20 s of SIGTERM.
    stop_seconds = 25.0

    def __init__(
        self,
        name: str,
        environment: Mapping[str, str],
        folder: Path,
        *,
        program: str | None = None,
        root: Path = ROOT,
        tied: bool = False,
    ) -> None:
        """`environment` has at least PORT; all that it prints goes to `folder`/log/`name`.log.

        `program` is one of NAMES, for a replica that has another name; `root` is the checkout that it runs from.
        """
        super().__init__(name, folder, tied=tied)
        self.url = f"http://{environment.get('HOST', LOOPBACK)}:{environment['PORT']}"
        self._environment = environment
        self._program = program or name
        self._root = root

    async def answers(self) -> bool:
        """Whether every check is ok: one that serves without its broker or cache is not up."""
        return not await self.unready()

    async def unready(self) -> str:
        """`SILENT`, or the checks that fail; empty if none does."""
        try:
            answer = await call("GET", f"{self.url}/health/ready")
            # A gateway with API keys shows only its own state to a client without one.
            itself = {"itself": "ok" if answer.status == HTTPStatus.OK else "down"}
            checks = answer.body["data"].get("checks", itself).items()
        except (OSError, KeyError, TypeError, AttributeError):
            return SILENT
        return ", ".join(f"{name} {outcome}" for name, outcome in checks if outcome != "ok")

    async def state(self) -> str:
        """`up`, `down`, or what is wrong."""
        if self.daemon.pid is None:
            return "down"
        lacking = await self.unready()
        return f"not ready: {lacking}" if lacking else "up"

    def command(self) -> Command:
        return Command((sys.executable, "-m", self._program), {**python(self._root), **self._environment}, self._root)


async def migrate(name: str, owner_url: str, service_url: str, operator_url: str = "") -> None:
    """Brings a schema up to date by the project's own program; StackError with what that printed if it fails."""
    environment = {**python(), "DATABASE_OWNER_URL": owner_url, "DATABASE_URL": service_url}
    environment["OPERATOR_DATABASE_URL"] = operator_url
    command = (sys.executable, "-m", "ops", "migrate", name)
    await jobs.finish(f"the migration of {name}", command, MIGRATION_SECONDS, folder=ROOT, environment=environment)


# Read by OpenTelemetry's SDK itself, in every service.
_OF_THE_SDK = {
    *("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_RESOURCE_ATTRIBUTES"),
    *("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"),
}


def environments(
    servers: Servers, passwords: Mapping[str, str], port: Mapping[str, int], environ: Mapping[str, str] | None = None
) -> dict[str, dict[str, str]]:
    """The environment of each service: its variables, as far as `environ` has them, and where the others are."""
    url = {name: f"http://{LOOPBACK}:{port[name]}" for name in NAMES}
    others = {
        "products": {"REDIS_URL": servers.products_redis.url},
        "orders": {"REDIS_URL": servers.orders_redis.url, "PRODUCTS_URL": url["products"]},
        "gateway": {"PRODUCTS_URL": url["products"], "ORDERS_URL": url["orders"]},
    }
    for name in STATEFUL:
        others[name]["DATABASE_URL"] = servers.postgres.database_url(name, passwords[name], name)
        others[name]["AMQP_URL"] = servers.rabbitmq.url
    for name, own in others.items():
        own |= {"HOST": LOOPBACK, "PORT": str(port[name])}
        # An empty variable counts as unset, and is no reason to start a service again.
        given = ((variable, (environ or {}).get(variable, "")) for variable in variables(name) - own.keys())
        own |= {variable: value for variable, value in given if value}
    others["orders"].setdefault("LINES_AND_HOLDS", "true")  # all services are of this release
    return others


def variables(name: str) -> set[str]:
    """The environment variables that a service reads."""
    # Imported here, because `python -m tools.ops` runs without src on its path.
    settings = importlib.import_module(f"{name}.settings")
    return {field.name.upper() for field in dataclasses.fields(settings.Settings)} | _OF_THE_SDK


def python(root: Path = ROOT) -> dict[str, str]:
    """The environment in which the programs of a checkout are found."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "PYTHONPATH": str(root / "src")}
