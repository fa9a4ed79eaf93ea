"""What runs on the nodes: for each kind its configuration, its program, and how to see that it works."""

import asyncio
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

import aiormq

from tools.cluster.nodes import NETWORK, Node
from tools.stack import jobs, passwords, programs
from tools.stack.http import call
from tools.stack.ports import listens
from tools.stack.postgres import SYSTEM_USER
from tools.stack.processes import Command
from tools.stack.rabbitmq import own, write_files
from tools.stack.services import Service

CONFIGURATIONS = Path(__file__).parent / "conf"
ANSWER_SECONDS = 2.0
CONTROL_SECONDS = 30.0
PATRONI_SECONDS = 120.0
# A scheduler that spins while idle would take CPU time from everything else, and one per core is too many here.
ERLANG_FLAGS = "+S 1:1 +A 4 +sbwt none +sbwtdcpu none +sbwtdio none"


class Server(Node):
    """A program with one file of configuration, made of a template in `conf`."""

    def __init__(self, name: str, address: str, folder: Path, template: str, **values: str) -> None:
        super().__init__(name, address, folder)
        self._file = self.folder / template
        text = (CONFIGURATIONS / template).read_text()
        own_values = {"name": name, "address": address, "folder": str(self.folder), "network": NETWORK}
        self._configuration = Template(text).substitute(own_values, **values)

    def launch(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write()
        super().launch()

    def _write(self) -> None:
        passwords.write_private(self._file, self._configuration)

    def _command(self, program: str, *arguments: str, user: str | None = None) -> Command:
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
        words = (programs.require(program), *arguments)
        return Command(words, environment, self._file.parent, user, configuration=self._configuration)


class Etcd(Node):
    """Where Patroni keeps who is the primary."""

    def __init__(self, name: str, address: str, folder: Path, peers: Mapping[str, str]) -> None:
        super().__init__(name, address, folder)
        self._peers = ",".join(f"{peer}=http://{where}:2380" for peer, where in peers.items())

    def launch(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        super().launch()

    def program(self) -> Command:
        peer, client = f"http://{self.address}:2380", f"http://{self.address}:2379"
        options = {
            "name": self.name,
            "data-dir": str(self.folder / "data"),
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "initial-cluster": self._peers,
            # A leader that is silent for 2 s is replaced. The default of 1 s is for a machine that does nothing else.
            "heartbeat-interval": "200",
            "election-timeout": "2000",
            "auto-compaction-retention": "1",
            "logger": "zap",
            "log-level": "warn",
        }
        arguments = tuple(f"--{name}={value}" for name, value in options.items())
        return Command((programs.require("etcd"), *arguments), {"PATH": os.defpath}, self.folder)

    async def answers(self) -> bool:
        """Whether it belongs to a majority with a leader."""
        return b" 200 " in await _ask(self.address, 2379, b"GET /health HTTP/1.0\r\n\r\n")


class Postgres(Server):
    """PostgreSQL under Patroni, which starts it, promotes it and sets it back."""

    start_seconds = PATRONI_SECONDS
    stop_seconds = 40.0

    def __init__(self, name: str, address: str, folder: Path, **values: str) -> None:
        super().__init__(name, address, folder, "patroni.yml", **values)
        self._url = f"http://{address}:8008/patroni"

    def _write(self) -> None:
        super()._write()
        for path in (self.folder, self._file):
            shutil.chown(path, SYSTEM_USER, SYSTEM_USER)

    def program(self) -> Command:
        return self._command("patroni", str(self._file), user=SYSTEM_USER)

    async def answers(self) -> bool:
        return await self.role() != ""

    async def role(self) -> str:
        """`primary`, `synchronous`, `asynchronous`, or empty if it does not run, as Patroni on it sees it."""
        shown = await self._shown()
        if shown["state"] != "running":
            return ""
        if shown["role"] == "master":
            return "primary"
        return "synchronous" if shown.get("sync_standby") else "asynchronous"

    async def _shown(self) -> dict[str, Any]:
        try:
            return dict((await call("GET", self._url, limit=ANSWER_SECONDS)).body)
        except OSError:
            return {"state": "unknown"}


class RabbitMQ(Server):
    start_seconds = 90.0

    def __init__(self, name: str, address: str, folder: Path, *, password: str, cookie: str, nodes: str) -> None:
        super().__init__(name, address, folder, "rabbitmq.conf", password=password, nodes=nodes)
        self._cookie = cookie
        self.url = f"amqp://shop:{password}@{address}:5672/"

    def _write(self) -> None:
        write_files(self.folder, self._configuration, "", self._cookie)

    def program(self) -> Command:
        return self._own("rabbitmq-server")

    async def answers(self) -> bool:
        if not await listens(5672, self.address):  # aiormq logs each refused connection as an error
            return False
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                connection = await aiormq.connect(self.url)
                await connection.close()
        except (OSError, aiormq.exceptions.AMQPError):
            return False
        return True

    async def control(self, *arguments: str, program: str = "rabbitmqctl") -> str:
        """What rabbitmqctl printed; it takes a second or two, and StackError if it fails."""
        command = self._own(program, "--node", f"rabbit@{self.name}", *arguments)
        return await jobs.finish(
            program, self.inside(*command.arguments), CONTROL_SECONDS, environment=command.environment
        )

    def _own(self, *words: str) -> Command:
        flags = {"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG_FLAGS, "RABBITMQ_CTL_ERL_ARGS": "+S 1:1"}
        return own(f"rabbit@{self.name}", self.folder, self._configuration, words, **flags)


class Redis(Server):
    """It keeps its file from one start to the next: Sentinel has whose replica it is written there."""

    def __init__(self, name: str, address: str, folder: Path, *, primary: str) -> None:
        replicaof = f"replicaof {primary} 6379" if primary != address else ""
        super().__init__(name, address, folder, "redis.conf", replicaof=replicaof)

    def program(self) -> Command:
        return self._command("redis-server", str(self._file))

    def _write(self) -> None:
        if not self._file.exists():
            super()._write()

    async def answers(self) -> bool:
        return await _ask(self.address, 6379, b"PING\r\n") == b"+PONG\r\n"

    async def role(self) -> str:
        """`master` or `slave`, Redis' own words, or empty if it does not answer."""
        answer = await _ask(self.address, 6379, b"ROLE\r\n", lines=3)
        return answer.split()[2].decode() if answer else ""


class Sentinel(Redis):
    def __init__(self, name: str, address: str, folder: Path, **values: str) -> None:
        Server.__init__(self, name, address, folder, "sentinel.conf", **values)

    def program(self) -> Command:
        return self._command("redis-server", str(self._file), "--sentinel")

    async def answers(self) -> bool:
        return await _ask(self.address, 26379, b"PING\r\n") == b"+PONG\r\n"


class Proxy(Server):
    """HAProxy, the door of the clients."""

    def __init__(self, name: str, address: str, folder: Path, **servers: Mapping[str, str]) -> None:
        lines = {
            service: "\n".join(f"    server {name} {where} check" for name, where in each.items())
            for service, each in servers.items()
        }
        super().__init__(name, address, folder, "haproxy.cfg", **lines)

    def program(self) -> Command:
        return self._command("haproxy", "-db", "-f", str(self._file))

    async def answers(self) -> bool:
        return bool(await _ask(self.address, 4000, b"GET /health/live HTTP/1.0\r\n\r\n"))


class Replica(Node):
    """A process of a service."""

    start_seconds = Service.start_seconds

    def __init__(self, name: str, address: str, folder: Path, service: str, environment: Mapping[str, str]) -> None:
        super().__init__(name, address, folder)
        self._service = Service(name, {**environment, "HOST": address}, folder, program=service)
        self.url = self._service.url

    def program(self) -> Command:
        return self._service.command()

    async def answers(self) -> bool:
        """Whether every check is ok."""
        return await self._service.answers()


async def _ask(address: str, port: int, question: bytes, lines: int = 1) -> bytes:
    """The first lines of the answer; empty if there is none."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(address, port)
            try:
                writer.write(question)
                return b"".join([await reader.readline() for _ in range(lines)])
            finally:
                writer.close()
    except OSError:
        return b""
