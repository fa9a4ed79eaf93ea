"""The three services as processes: what each is told, and when it is ready."""

import os
import sys
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType

from tools.stack.http import call
from tools.stack.ports import LOOPBACK
from tools.stack.processes import Command, Daemon
from tools.stack.servers import Servers

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
NAMES = ("products", "orders", "gateway")
# What each reads beside its address and the URLs of the others.
SETTINGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "products": ("LOG_LEVEL", "MAX_IN_FLIGHT"),
        "orders": ("LOG_LEVEL", "MAX_IN_FLIGHT", "STUCK_ORDER_SECONDS"),
        "gateway": (
            "LOG_LEVEL",
            "REQUEST_SECONDS",
            "UPSTREAM_TOTAL_SECONDS",
            "UPSTREAM_CONNECT_SECONDS",
            "UPSTREAM_READ_SECONDS",
            "API_KEYS",
            "GATEWAY_ALLOW_ANONYMOUS",
            "RATE_LIMIT",
            "TRUSTED_PROXIES",
            "CORS_ORIGINS",
        ),
    }
)
NOTHING: Mapping[str, str] = MappingProxyType({})
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
            # With API keys a gateway shows a stranger its own state alone.
            itself = {"itself": "ok" if answer.status == HTTPStatus.OK else "down"}
            return dict(answer.body["data"].get("checks", itself))
        except (OSError, KeyError, TypeError, AttributeError):
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


def environments(
    servers: Servers, passwords: Mapping[str, str], port: Mapping[str, int], environ: Mapping[str, str] = NOTHING
) -> dict[str, dict[str, str]]:
    """What each service is told: of `environ` the SETTINGS that are its own, and where the others are."""
    products_url, orders_url = (f"http://{LOOPBACK}:{port[name]}" for name in ("products", "orders"))
    told = {
        "products": {"REDIS_URL": servers.products_redis.url},
        "orders": {"REDIS_URL": servers.orders_redis.url, "PRODUCTS_URL": products_url},
        "gateway": {"PRODUCTS_URL": products_url, "ORDERS_URL": orders_url},
    }
    for name in ("products", "orders"):
        told[name]["DATABASE_URL"] = servers.postgres.database_url(name, passwords[name], name)
        told[name]["AMQP_URL"] = servers.rabbitmq.url
    return {name: {"HOST": LOOPBACK, "PORT": str(port[name]), **_own(name, environ), **told[name]} for name in NAMES}


def _own(name: str, environ: Mapping[str, str]) -> dict[str, str]:
    """An empty one is as good as none, and no reason to start a service again."""
    return {setting: environ[setting] for setting in SETTINGS[name] if environ.get(setting)}
