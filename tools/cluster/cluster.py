"""All nodes: who they are, where the others find them, and in which order they start."""

import asyncio
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from tools import running
from tools.cluster.nodes import NETWORK, Node, make_namespaces, remove_namespaces
from tools.cluster.servers import Etcd, Postgres, Proxy, RabbitMQ, Redis, Replica, Sentinel
from tools.stack import passwords, programs
from tools.stack.errors import StackError
from tools.stack.jobs import together
from tools.stack.postgres import ADMIN, create_database
from tools.stack.services import STATEFUL, migrate
from tools.stack.stack import locked

# One on a machine, from whichever checkout: the namespaces and addresses are the machine's.
FOLDER = running.CLUSTER
STATE = FOLDER / running.FILE.name
PACKAGES = {"etcd": "etcd-server", "patroni": "patroni", "haproxy": "haproxy", "nft": "nftables", "ip": "iproute2"}
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
# HAProxy notices within 3 s that a process stops, as conf/haproxy.cfg has it.
_DRAIN = "4"
PORTS = {"gateway": 4000, "orders": 3002, "products": 3001}
STANDBY_SECONDS = 90.0
POLL_SECONDS = 0.2


class Cluster:
    def __init__(self) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        roles = [f"{name}{kind}" for name in STATEFUL for kind in ("", "_owner", "_operator")]
        secrets = [ADMIN, "replicator", "rabbitmq", "cookie", "services"]
        self._passwords = passwords.load(FOLDER / "passwords.json", [*roles, *secrets])
        self.gateway_url = f"http://{_first('proxy')}:{PORTS['gateway']}"
        self.service_url = {name: self.database_url(name, name) for name in STATEFUL}
        self.operator_url = {name: self.database_url(f"{name}_operator", name) for name in STATEFUL}
        self.service_secret = self._passwords["services"]
        self.amqp_url = f"amqp://shop:{self._passwords['rabbitmq']}@{_hosts('rabbit', 5672)}/"

        peers = ",".join(f"{name}=http://{address}:2380" for name, address in _places("etcd").items())
        self.etcd = [Etcd(*place, FOLDER, peers=peers) for place in _places("etcd").items()]
        self.postgres = [Postgres(*place, FOLDER, **self._patroni()) for place in _places("postgres").items()]
        self.rabbitmq = [RabbitMQ(*place, FOLDER, **self._rabbitmq()) for place in _places("rabbit").items()]
        self.redis = [
            Redis(*place, FOLDER, replicaof="" if place[1] == _first(kind) else f"replicaof {_first(kind)} 6379")
            for kind in (f"{name}-redis" for name in STATEFUL)
            for place in _places(kind).items()
        ]
        primaries = {name: _first(f"{name}-redis") for name in STATEFUL}
        self.sentinels = [Sentinel(*place, FOLDER, **primaries) for place in _places("sentinel").items()]
        self.replicas = [
            Replica(*place, FOLDER, service, environment)
            for service, environment in self._environments().items()
            for place in _places(service).items()
        ]
        doors = {name: "\n".join(_served(name, "    server {} {} check")) for name in ("gateway", "products")}
        self.proxy = Proxy("proxy-1", _first("proxy"), FOLDER, **doors)
        self._servers: list[Node] = [*self.etcd, *self.postgres, *self.rabbitmq, *self.redis, *self.sentinels]
        self.nodes: dict[str, Node] = {node.name: node for node in (*self._servers, *self.replicas, self.proxy)}

    async def up(self) -> None:
        """Starts what does not run; StackError names the first that fails."""
        with locked(FOLDER):
            await make_namespaces(self.nodes.values())
            await together(*(node.start() for node in self._servers), self._wait_for_standby())
            await together(*(self._migrate(name) for name in STATEFUL))
            await together(*(node.start() for node in (*self.replicas, self.proxy)))
            passwords.write_private(STATE, json.dumps(self._described(), indent=2))

    async def down(self) -> None:
        """Stops everything, services first and etcd last; the data stay."""
        with locked(FOLDER):
            STATE.unlink(missing_ok=True)
            servers = [node for node in self._servers if node not in self.etcd]
            for nodes in ([self.proxy], self.replicas, servers, self.etcd):
                await together(*(node.stop() for node in nodes))
            await remove_namespaces(self.nodes.values())

    async def clean(self) -> None:
        """Kills everything and deletes the data."""
        with locked(FOLDER):
            await together(*(node.kill() for node in self.nodes.values()))
            await remove_namespaces(self.nodes.values())
            shutil.rmtree(FOLDER)

    async def status(self) -> list[tuple[Node, str, str]]:
        """Each node with its state and its role, if it has one."""
        nodes = self.nodes.values()
        return [(node, await node.state(), await node.role()) for node in nodes]

    async def primary(self) -> Postgres | None:
        """The PostgreSQL node that takes writes, as itself sees it."""
        roles = await asyncio.gather(*(node.role() for node in self.postgres))
        return next((node for node, role in zip(self.postgres, roles, strict=True) if role == "primary"), None)

    def database_url(self, role: str, database: str) -> str:
        """Names all three nodes: a new connection asks them in turn, and stays at the one that can be written."""
        hosts = _hosts("postgres", 5432)
        return f"postgresql://{role}:{self._passwords[role]}@{hosts}/{database}?target_session_attrs=read-write"

    def _patroni(self) -> dict[str, str]:
        return {
            "etcd": _hosts("etcd", 2379),
            "programs": str(Path(programs.find("postgres") or "").parent),
            "superuser": self._passwords[ADMIN],
            "replicator": self._passwords["replicator"],
        }

    def _rabbitmq(self) -> dict[str, str]:
        known = enumerate(_places("rabbit"), start=1)
        nodes = "\n".join(f"cluster_formation.classic_config.nodes.{number} = rabbit@{name}" for number, name in known)
        return {"password": self._passwords["rabbitmq"], "cookie": self._passwords["cookie"], "nodes": nodes}

    def _environments(self) -> dict[str, dict[str, str]]:
        """Of each service's processes, by its name."""
        urls = {f"{name.upper()}_URL": ",".join(_served(name, "http://{1}")) for name in STATEFUL}
        environments = {
            name: {
                "DATABASE_URL": self.service_url[name],
                "AMQP_URL": self.amqp_url,
                "REDIS_URL": f"redis+sentinel://{_hosts('sentinel', 26379)}/{name}/0",
            }
            for name in STATEFUL
        }
        through_proxy = f"http://{_first('proxy')}:{PORTS['products']}"  # orders knows only one address
        environments["orders"] |= {"PRODUCTS_URL": through_proxy, "LINES_AND_HOLDS": "true"}
        trust = {"GATEWAY_ALLOW_ANONYMOUS": "true", "TRUSTED_PROXIES": _first("proxy")}
        environments["gateway"] = {**urls, **trust}
        for name, own in environments.items():
            own |= {"SERVICE_SECRET": self.service_secret, "PORT": str(PORTS[name]), "DRAIN_SECONDS": _DRAIN}
        return environments

    async def _wait_for_standby(self) -> None:
        """Until there is one a commit would be on one disk only."""
        try:
            async with asyncio.timeout(STANDBY_SECONDS):
                while {"primary", "synchronous"} - {await node.role() for node in self.postgres}:  # noqa: ASYNC110  # it tells nobody
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            log = self.postgres[0].daemon.tail()
            raise StackError("PostgreSQL has no primary with a synchronous standby", log) from None

    async def _migrate(self, name: str) -> None:
        owner = f"{name}_owner"
        await create_database(self.database_url(ADMIN, "postgres"), name, owner, self._passwords[owner])
        await migrate(name, self.database_url(owner, name), self.service_url[name], self.operator_url[name])

    def _described(self) -> dict[str, Mapping[str, str | None]]:
        """As `make up` describes its stack, for the tools that ask a running one; of several processes the first."""
        urls = {"gateway": self.gateway_url, "rabbitmq": self.amqp_url}
        for name in STATEFUL:
            urls |= {name: f"http://{_first(name)}:{PORTS[name]}", f"{name}-db": self.service_url[name]}
            urls |= {f"{name}-redis": f"redis://{_first(f'{name}-redis')}:6379/0"}
        operator = {f"{name}-db": url for name, url in self.operator_url.items()}
        return {part: {"url": url, "operator": operator.get(part)} for part, url in urls.items()}


def _places(kind: str) -> dict[str, str]:
    """The address of each node of a kind, by its name."""
    first, number = PLACES[kind]
    return {f"{kind}-{index + 1}": f"{NETWORK}.{first + index}" for index in range(number)}


def _first(kind: str) -> str:
    return _places(kind)[f"{kind}-1"]


def _hosts(kind: str, port: int) -> str:
    return ",".join(f"{address}:{port}" for address in _places(kind).values())


def _served(service: str, form: str) -> list[str]:
    """Name and address of each process of a service, in that form."""
    return [form.format(name, f"{address}:{PORTS[service]}") for name, address in _places(service).items()]
