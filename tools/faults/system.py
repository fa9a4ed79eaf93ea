"""The system that is broken: servers of its own, two replicas of each service, a proxy on every connection."""

import asyncio
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self, TypeAlias

from shared.messaging.topology import QUEUES
from tools.faults import clocks, servers
from tools.faults.plan import BROKER, DATABASES, LINKS, REDISES, SERVICES
from tools.faults.proxy import Proxy
from tools.faults.replica import Replica
from tools.faults.servers import Database
from tools.faults.state import Access
from tools.stack import ports, programs
from tools.stack.http import call
from tools.stack.jobs import together
from tools.stack.ports import LOOPBACK
from tools.stack.rabbitmq import RabbitMQ
from tools.stack.redis import Redis
from tools.stack.services import STATEFUL

# Seconds between heartbeats of the services and the broker: aiormq gives a connection up after six of silence instead
# of half a minute as by default, so that a silence of a round can be long enough.
HEARTBEAT = 1


# Whatever is stopped or killed can be started again, at the same port.
Part: TypeAlias = Replica | Database | Redis | RabbitMQ


class System:
    """A context, in which the servers and proxies run; `begin` starts the services, anew for each round."""

    databases: Mapping[str, Database]
    redises: Mapping[str, Redis]
    rabbitmq: RabbitMQ
    links: Mapping[str, Proxy]
    services: Mapping[str, Replica]
    can_jump: bool
    """Whether the clocks of the databases can be moved; that of Redis always can."""

    def __init__(self, mutant_program: str = "") -> None:
        """`mutant_program` runs the service PROGRAM without the guard that MUTATION names, both variables of its
        environment.
        """
        self.complaints: list[str] = []
        """The promises that processes broke; the reader may clear it."""
        # PostgreSQL's user must be able to reach it, which it perhaps cannot in Python's own temporary folders.
        self._folder = Path(tempfile.mkdtemp(prefix="product-order-system-"))
        self._folder.chmod(0o755)
        self._mutant_program = mutant_program
        self._port = ports.choose_each((*SERVICES, *DATABASES, *REDISES, *ports.OF_RABBITMQ, *LINKS))
        self.services = {}

    @property
    def url(self) -> str:
        """The gateway's URL, where clients go."""
        return self.service_url("gateway")

    @property
    def parts(self) -> dict[str, Part]:
        """Every part under its name in the plan."""
        return {**self.services, **self.databases, **self.redises, BROKER: self.rabbitmq}

    @property
    def access(self) -> Access:
        """Where it is read."""
        return Access(
            services={name: self.service_url(name) for name in SERVICES},
            databases={name: database.url for name, database in self.databases.items()},
            redises={name: redis.url for name, redis in self.redises.items()},
            broker=self.rabbitmq.url,
            unacknowledged=self._unacknowledged,
            logs={name: self.log(name) for name in SERVICES},
        )

    @property
    def logs(self) -> list[Path]:
        """The services' logs of the last round."""
        return [self.log(name) for name in SERVICES]

    def log(self, name: str) -> Path:
        return self._folder / "log" / f"{name}.log"

    def service_url(self, name: str) -> str:
        return f"http://{LOOPBACK}:{self._port[name]}"

    async def begin(self, *, stuck_order_seconds: int, mutation: str | None = None) -> None:
        """Ends the last round; returns when fresh services are ready, which know of nothing before.

        With a `mutation` they are run by the mutant program, without one of their guards.
        """
        await self.end()
        for link in self.links.values():
            await link.heal()
        await together(*(server.start() for server in self._servers))
        await together(
            *(database.renew() for database in self.databases.values()),
            *(servers.flush_redis(redis.url) for redis in self.redises.values()),
            servers.delete_queues(
                self.rabbitmq.url, *(name for queue in QUEUES for name in (queue.name, *queue.beside))
            ),
        )
        for log in self.logs:
            log.unlink(missing_ok=True)
        settings = {"STUCK_ORDER_SECONDS": str(stuck_order_seconds), "LINES_AND_HOLDS": "true"}
        self.services = {name: self._replica(name, settings, mutation) for name in SERVICES}
        await together(*(service.become_ready() for service in self.services.values()))

    async def end(self) -> None:
        """Stops the services by SIGTERM, so that their broken promises are in `complaints`."""
        await together(*(service.stop() for service in self.services.values()))

    async def unready(self) -> dict[str, str]:
        """The failing checks of each service that is not ready; takes at most five seconds."""
        lacking = await asyncio.gather(*(service.unready() for service in self.services.values()))
        return {name: lack for name, lack in zip(self.services, lacking, strict=True) if lack}

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(programs.install_missing)
        self.can_jump = await asyncio.to_thread(clocks.install)
        self._make_servers()
        try:
            await together(*(server.start() for server in self._servers))
            await together(*(database.prepare() for database in self.databases.values()))
        except BaseException:
            await self._remove()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._remove()

    def _make_servers(self) -> None:
        self.databases = {
            name: Database(name.removesuffix("-db"), self._folder / name, self._port[name]) for name in DATABASES
        }
        self.redises = {name: Redis(name, self._folder, self._port[name], tied=True) for name in REDISES}
        self.rabbitmq = RabbitMQ(self._folder, *(self._port[name] for name in ports.OF_RABBITMQ), tied=True)
        self.links = {name: Proxy(self._port[name.partition(">")[2]], self._port[name]) for name in LINKS}

    @property
    def _servers(self) -> Sequence[Database | Redis | RabbitMQ]:
        return [*self.databases.values(), *self.redises.values(), self.rabbitmq]

    async def _unacknowledged(self) -> dict[str, int]:
        listed = await call("GET", f"{self.rabbitmq.ui_url.replace('://', '://guest:guest@')}/api/queues")
        return {row["name"]: row.get("messages_unacknowledged", 0) for row in listed.body}

    async def _remove(self) -> None:
        await together(
            *(service.kill() for service in self.services.values()), *(link.stop() for link in self.links.values())
        )
        await together(
            *(database.remove() for database in self.databases.values()),
            *(redis.kill() for redis in self.redises.values()),
            self.rabbitmq.kill(),
        )
        shutil.rmtree(self._folder, ignore_errors=True)

    def _replica(self, name: str, settings: Mapping[str, str], mutation: str | None) -> Replica:
        program = name.partition("-")[0]
        environment = {"PORT": str(self._port[name]), **settings, **self._urls(name, program)}
        if mutation is not None:
            environment |= {"MUTATION": mutation, "PROGRAM": program}
            program = self._mutant_program
        return Replica(name, environment, self._folder, program=program, complaints=self.complaints)

    def _urls(self, name: str, program: str) -> dict[str, str]:
        """Where the service finds what it needs, always by way of a link."""
        port = {target: self.links[f"{name}>{target}"].port for target in _targets(name)}
        if program == "gateway":
            return {
                f"{service.upper()}_URL": ",".join(_http(port[f"{service}-{n}"]) for n in (1, 2))
                for service in STATEFUL
            }
        urls = {
            "DATABASE_URL": self.databases[f"{program}-db"].service_url(port[f"{program}-db"]),
            "REDIS_URL": f"redis://{LOOPBACK}:{port[f'{program}-redis']}/0",
            "AMQP_URL": f"amqp://guest:guest@{LOOPBACK}:{port[BROKER]}/?heartbeat={HEARTBEAT}",
        }
        if program == "orders":
            urls["PRODUCTS_URL"] = _http(port[f"products-{name.removeprefix('orders-')}"])
        return urls


def _targets(name: str) -> list[str]:
    return [target for source, _, target in (link.partition(">") for link in LINKS) if source == name]


def _http(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"
