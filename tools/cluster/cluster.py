"""All nodes: who they are, where the others find them, and in which order they start."""

import asyncio
import contextlib
import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.cluster.nodes import NETWORK, Node, make_namespaces, remove_namespaces
from tools.cluster.servers import Etcd, Postgres, Proxy, RabbitMQ, Redis, Replica, Sentinel
from tools.stack import passwords, programs
from tools.stack.errors import StackError
from tools.stack.jobs import together
from tools.stack.postgres import ADMIN, ELSEWHERE, create_database
from tools.stack.services import migrate

# One on a machine, from whichever checkout: the namespaces and addresses are the machine's.
FOLDER = ELSEWHERE / "cluster"
FILE = FOLDER / "stack.json"
DATABASES = ("products", "orders")
PACKAGES = {
    **programs.PACKAGES,
    "etcd": "etcd-server",
    "patroni": "patroni",
    "haproxy": "haproxy",
    "nft": "nftables",
    "ip": "iproute2",
}
# The last part of the address of each kind's first node, and how many there are.
PLACES = {
    "etcd": (11, 3),
    "postgres": (21, 3),
    "rabbit": (31, 3),
    "products-redis": (41, 2),
    "orders-redis": (51, 2),
    "sentinel": (61, 3),
    "gateway": (71, 2),
    "orders": (73, 2),
    "products": (75, 2),
    "proxy": (90, 1),
}
PORTS = {"gateway": 4000, "orders": 3002, "products": 3001}
PRIMARY_SECONDS = 90.0
POLL_SECONDS = 0.2


class Cluster:
    def __init__(self, say: Callable[[str], None], *, strict: bool = False) -> None:
        """`say` gets what a user should know. With `strict` commits wait while no standby is there."""
        self._say = say
        FOLDER.mkdir(parents=True, exist_ok=True)
        roles = [f"{name}{kind}" for name in DATABASES for kind in ("", "_owner", "_operator")]
        secrets = [ADMIN, "replicator", "rabbitmq", "cookie", "services"]
        self._passwords = passwords.load(FOLDER / "passwords.json", [*roles, *secrets])
        self.gateway_url = f"http://{_places('proxy')['proxy-1']}:{PORTS['gateway']}"
        self.service_url = {name: self.database_url(name, name) for name in DATABASES}
        self.operator_url = {name: self.database_url(f"{name}_operator", name) for name in DATABASES}
        self.etcd = [Etcd(*place, FOLDER, _places("etcd")) for place in _places("etcd").items()]
        self.postgres = self._make_postgres(strict=strict)
        self.rabbitmq = self._make_rabbitmq()
        self.redis = [
            Redis(*place, FOLDER, primary=_first(f"{name}-redis"))
            for name in DATABASES
            for place in _places(f"{name}-redis").items()
        ]
        primaries = {name: _first(f"{name}-redis") for name in DATABASES}
        self.sentinels = [Sentinel(*place, FOLDER, **primaries) for place in _places("sentinel").items()]
        self.replicas = self._make_replicas()
        self.proxy = Proxy(
            "proxy-1", _first("proxy"), FOLDER, gateway=_served("gateway"), products=_served("products")
        )
        self._servers: list[Node] = [*self.etcd, *self.postgres, *self.rabbitmq, *self.redis, *self.sentinels]
        self.nodes: dict[str, Node] = {node.name: node for node in (*self._servers, *self.replicas, self.proxy)}

    async def up(self) -> None:
        """Starts what does not run; StackError names the first that fails."""
        with self._locked():
            await make_namespaces(self.nodes.values())
            await together(*(node.start() for node in self._servers), self._wait_for_standby())
            await together(*(self._migrate(name) for name in DATABASES))
            await together(*(node.start() for node in (*self.replicas, self.proxy)))
            passwords.write_private(FILE, json.dumps(self._described(), indent=2))

    async def down(self) -> None:
        """Stops everything, services first; the data stay."""
        with self._locked():
            FILE.unlink(missing_ok=True)
            await self.proxy.stop()
            await together(*(node.stop() for node in self.replicas))
            await together(*(node.stop() for node in self._servers if node not in self.etcd))
            await together(*(node.stop() for node in self.etcd))
            await remove_namespaces(self.nodes.values())

    async def clean(self) -> None:
        """Kills everything and deletes the data."""
        with self._locked():
            await together(*(node.kill() for node in self.nodes.values()))
            await remove_namespaces(self.nodes.values())
            shutil.rmtree(FOLDER)

    async def status(self) -> list[tuple[Node, str]]:
        nodes = list(self.nodes.values())
        return list(zip(nodes, await asyncio.gather(*(_state(node) for node in nodes)), strict=True))

    async def primary(self) -> Postgres | None:
        """The PostgreSQL node that takes writes, as itself sees it."""
        for node in self.postgres:
            if await node.role() == "primary":
                return node
        return None

    def database_url(self, role: str, database: str) -> str:
        """Names all three nodes: a new connection asks them in turn, and stays at the one that can be written."""
        hosts = ",".join(f"{address}:5432" for address in _places("postgres").values())
        password = self._passwords[role]
        return f"postgresql://{role}:{password}@{hosts}/{database}?target_session_attrs=read-write"

    def _make_postgres(self, *, strict: bool) -> list[Postgres]:
        values = {
            "etcd": ",".join(f"{address}:2379" for address in _places("etcd").values()),
            "strict": json.dumps(strict),
            "programs": str(Path(programs.find("postgres") or "/").parent),
            "superuser": self._passwords[ADMIN],
            "replicator": self._passwords["replicator"],
        }
        return [Postgres(*place, FOLDER, **values) for place in _places("postgres").items()]

    def _make_rabbitmq(self) -> list[RabbitMQ]:
        known = enumerate(_places("rabbit"), start=1)
        nodes = "\n".join(f"cluster_formation.classic_config.nodes.{n} = rabbit@{name}" for n, name in known)
        values = {"password": self._passwords["rabbitmq"], "cookie": self._passwords["cookie"], "nodes": nodes}
        return [RabbitMQ(*place, FOLDER, **values) for place in _places("rabbit").items()]

    def _make_replicas(self) -> list[Replica]:
        every = {"SERVICE_SECRET": self._passwords["services"]}
        urls = {name: ",".join(f"http://{where}" for where in _served(name).values()) for name in PORTS}
        own = {
            name: {
                "DATABASE_URL": self.service_url[name],
                "AMQP_URL": self.rabbitmq[0].url,
                "REDIS_URL": f"redis://{_first(f'{name}-redis')}:6379/0",
            }
            for name in DATABASES
        }
        own["orders"] |= {"PRODUCTS_URL": f"http://{_first('proxy')}:{PORTS['products']}", "LINES_AND_HOLDS": "true"}
        own["gateway"] = {
            "PRODUCTS_URL": urls["products"],
            "ORDERS_URL": urls["orders"],
            "GATEWAY_ALLOW_ANONYMOUS": "true",
            "TRUSTED_PROXIES": _first("proxy"),
        }
        return [
            Replica(*place, FOLDER, service, {**every, **own[service], "PORT": str(port)})
            for service, port in PORTS.items()
            for place in _places(service).items()
        ]

    async def _wait_for_standby(self) -> None:
        """Until then a commit would be on one disk only."""
        try:
            async with asyncio.timeout(PRIMARY_SECONDS):
                while {"primary", "synchronous"} - {await node.role() for node in self.postgres}:  # noqa: ASYNC110  # Patroni tells nobody
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise StackError(
                "PostgreSQL has no primary with a synchronous standby", self.postgres[0].daemon.tail()
            ) from None

    async def _migrate(self, name: str) -> None:
        owner = f"{name}_owner"
        await create_database(self.database_url(ADMIN, "postgres"), name, owner, self._passwords[owner])
        await migrate(name, self.database_url(owner, name), self.service_url[name], self.operator_url[name])

    def _described(self) -> dict[str, dict[str, object]]:
        """As the stack on one server each describes itself; of several processes the first."""
        first = {replica.name.removesuffix("-1"): replica for replica in self.replicas}
        parts: dict[str, tuple[str, Node]] = {"gateway": (self.gateway_url, self.proxy)}
        for name in DATABASES:
            parts[name] = (first[name].url, first[name])
            parts[f"{name}-db"] = (self.service_url[name], self.postgres[0])
            parts[f"{name}-redis"] = (f"redis://{_first(f'{name}-redis')}:6379/0", self.nodes[f"{name}-redis-1"])
        parts["rabbitmq"] = (self.rabbitmq[0].url, self.rabbitmq[0])
        described: dict[str, dict[str, object]] = {
            name: {"url": url, "pid": node.daemon.pid} for name, (url, node) in parts.items()
        }
        for name in DATABASES:
            described[f"{name}-db"]["operator"] = self.operator_url[name]
        return described

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Two commands at once would start everything twice."""
        with (FOLDER / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackError("another command is starting or stopping the cluster") from None
            yield


async def _state(node: Node) -> str:
    """`up` with what it is where nodes of a kind differ, `down`, or what is wrong."""
    state = await node.state()
    role = await node.role() if isinstance(node, Postgres) or type(node) is Redis else ""
    return f"{state}, {role}" if role else state


def _places(kind: str) -> dict[str, str]:
    """The address of each node of a kind, by its name."""
    first, number = PLACES[kind]
    return {f"{kind}-{index + 1}": f"{NETWORK}.{first + index}" for index in range(number)}


def _first(kind: str) -> str:
    return _places(kind)[f"{kind}-1"]


def _served(service: str) -> dict[str, str]:
    """Host and port of each process of a service, by its name."""
    return {name: f"{address}:{PORTS[service]}" for name, address in _places(service).items()}
