"""The system that is broken: servers of its own, two replicas of each service, a proxy on every connection."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from shared.messaging.topology import QUEUES
from tools.faults import caches, clocks, queues
from tools.faults.clocks import Clock
from tools.faults.databases import Database
from tools.faults.plan import BROKER, DATABASES, LINKS, REDISES, SERVICES, Fault
from tools.faults.proxy import Proxy
from tools.faults.replicas import Replica
from tools.stack import ports, programs
from tools.stack.jobs import together
from tools.stack.ports import LOOPBACK
from tools.stack.processes import Daemon
from tools.stack.rabbitmq import RabbitMQ
from tools.stack.redis import Redis
from tools.stack.services import Service

# Of the services with the broker, in seconds: aiormq gives a connection up after six of silence, and not after half a
# minute as by default, so that a round can be that long.
HEARTBEAT = 1


class Part(Protocol):
    """A service or server; one that is stopped or killed can be started again, at the same port."""

    @property
    def daemon(self) -> Daemon: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def kill(self) -> None: ...


class System:
    """A context, in which the servers and proxies run; `begin` starts the services, anew for each round."""

    databases: Mapping[str, Database]
    redises: Mapping[str, Redis]
    rabbitmq: RabbitMQ
    links: Mapping[str, Proxy]
    services: Mapping[str, Replica]
    can_jump: bool
    """Whether databases run on clocks that can be moved; Redis always does."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        """All that it leaves on disk while it runs is in `folder`, which goes with it."""
        self.complaints: list[str] = []
        """What services promised and did not keep; whoever reads it may clear it."""
        self.resets: dict[Fault, asyncio.Task[None]] = {}
        self._folder = folder.absolute()
        self._say = say
        self._ports: set[int] = set()
        self._port = {name: self._choose_port() for name in SERVICES}
        self.services = {}
        self.links = {}

    @property
    def url(self) -> str:
        """The gateway's, where clients go."""
        return self.service_url("gateway")

    @property
    def parts(self) -> dict[str, Part]:
        """By the names of the plan."""
        return {**self.services, **self.databases, **self.redises, BROKER: self.rabbitmq}

    @property
    def log_folder(self) -> Path:
        """Has `<service>.log` for each of the five, of the last round alone."""
        return self._folder / "log"

    @property
    def amqp_url(self) -> str:
        return self.rabbitmq.url

    @property
    def broker_ui_url(self) -> str:
        return self.rabbitmq.ui_url

    def service_url(self, name: str) -> str:
        return f"http://{LOOPBACK}:{self._port[name]}"

    def database_url(self, name: str) -> str:
        """Past the proxies, for a superuser."""
        return self.databases[name].url

    def redis_url(self, name: str) -> str:
        return self.redises[name].url

    async def begin(self, source: Path, *, stuck_order_seconds: int) -> None:
        """Ends the last round; returns when services of the code in `source` are ready, and know of nothing before."""
        await self.end()
        for link in self.links.values():
            link.heal()
        await together(*(server.start() for server in self._servers))
        await together(
            *(database.renew() for database in self.databases.values()),
            *(caches.flush(redis.url) for redis in self.redises.values()),
            queues.delete(self.amqp_url, *(name for queue in QUEUES for name in (queue.name, queue.dead))),
        )
        for name in SERVICES:
            (self.log_folder / f"{name}.log").unlink(missing_ok=True)
        settings = {"STUCK_ORDER_SECONDS": str(stuck_order_seconds)}
        self.services = {name: self._replica(name, source, settings) for name in SERVICES}
        await together(*(service.become_ready() for service in self.services.values()))

    async def end(self) -> None:
        """Stops the services in an orderly way, so that a broken promise of the round is noted by now."""
        await together(*(service.stop() for service in self.services.values()))

    async def unready(self) -> dict[str, str]:
        """What each service lacks that is not wholly ready; takes at most five seconds."""
        lacking = await asyncio.gather(*(service.unready() for service in self.services.values()))
        return {name: lack for name, lack in zip(self.services, lacking, strict=True) if lack}

    async def jump(self, name: str, seconds: float) -> None:
        """Moves the clock of a database or Redis by so much, from the true time."""
        if name in self.databases:
            self.databases[name].clock.jump(seconds)
        else:
            await caches.jump(self.redis_url(name), seconds)

    async def jump_back(self, name: str, seconds: float) -> None:
        """To the true time, from which it was moved by so much."""
        if name in self.databases:
            self.databases[name].clock.jump(0)
        else:
            await caches.jump(self.redis_url(name), -seconds)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(programs.install_missing, self._say)
        self.can_jump = await asyncio.to_thread(clocks.install, self._say)
        # Not in the folder, which PostgreSQL's user perhaps cannot reach.
        self._clock_folder = new_folder()
        self._make_servers()
        try:
            await together(*(server.start() for server in self._servers))
            await together(*(database.prepare() for database in self.databases.values()))
            for link in self.links.values():
                await self._open(link)
        except BaseException:
            await self._remove()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._remove()

    def _make_servers(self) -> None:
        port = {name: self._choose_port() for name in (*DATABASES, *REDISES)}
        self.databases = {
            name: Database(
                name.removesuffix("-db"), self._folder / name, port[name], Clock(self._clock_folder / name), self._say
            )
            for name in DATABASES
        }
        self.redises = {name: Redis(name, self._folder, port[name], tied=True) for name in REDISES}
        self.rabbitmq = RabbitMQ(self._folder, *(self._choose_port() for _ in range(4)), tied=True)
        port |= {**self._port, BROKER: self.rabbitmq.port}
        self.links = {name: Proxy(name, port[name.partition(">")[2]]) for name in LINKS}

    @property
    def _servers(self) -> tuple[Database | Redis | RabbitMQ, ...]:
        return *self.databases.values(), *self.redises.values(), self.rabbitmq

    async def _open(self, link: Proxy) -> None:
        await link.start()
        while link.port in self._ports:  # free only because its service does not run yet
            await link.stop()
            await link.start()

    async def _remove(self) -> None:
        for reset in self.resets.values():
            reset.cancel()
        await together(
            *(service.kill() for service in self.services.values()), *(link.stop() for link in self.links.values())
        )
        await together(
            *(database.remove() for database in self.databases.values()),
            *(redis.kill() for redis in self.redises.values()),
            self.rabbitmq.kill(),
        )
        for folder in (self._folder, self._clock_folder):
            shutil.rmtree(folder, ignore_errors=True)

    def _choose_port(self) -> int:
        port = ports.choose(taken=self._ports)
        self._ports.add(port)
        return port

    def _replica(self, name: str, source: Path, settings: Mapping[str, str]) -> Replica:
        program = name.partition("-")[0]
        environment = {"PORT": str(self._port[name]), **settings, **self._urls(name, program)}
        service = Service(name, environment, self._folder, program=program, source=source, tied=True)
        return Replica(service, self.complaints)

    def _urls(self, name: str, program: str) -> dict[str, str]:
        """Where it finds what it needs: every one is a link's."""
        port = {target: self.links[f"{name}>{target}"].port for target in _targets(name)}
        if program == "gateway":
            return {
                f"{service.upper()}_URL": ",".join(_http(port[f"{service}-{n}"]) for n in (1, 2))
                for service in ("products", "orders")
            }
        urls = {
            "DATABASE_URL": self.databases[f"{program}-db"].service_url(port[f"{program}-db"]),
            "REDIS_URL": f"redis://{LOOPBACK}:{port[f'{program}-redis']}/0",
            "AMQP_URL": f"amqp://guest:guest@{LOOPBACK}:{port[BROKER]}/?heartbeat={HEARTBEAT}",
        }
        if program == "orders":
            urls["PRODUCTS_URL"] = _http(port[f"products-{name.removeprefix('orders-')}"])
        return urls


def new_folder() -> Path:
    """That PostgreSQL's user can reach, other than Python's own."""
    folder = Path(tempfile.mkdtemp(prefix="product-order-system-"))
    folder.chmod(0o755)
    return folder


def _targets(name: str) -> list[str]:
    return [target for source, _, target in (link.partition(">") for link in LINKS) if source == name]


def _http(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"
