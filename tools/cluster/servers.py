"""What runs on the nodes: for each kind its configuration, its program, and how to see that it works."""

import asyncio
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from string import Template
from typing import ClassVar

from tools.cluster.nodes import NETWORK, Node
from tools.stack import jobs, passwords, programs
from tools.stack.postgres import SYSTEM_USER
from tools.stack.processes import Command
from tools.stack.rabbitmq import own, write_files
from tools.stack.services import Service

CONFIGURATIONS = Path(__file__).parent / "conf"
ANSWER_SECONDS = 2.0
CONTROL_SECONDS = 30.0
FILE = "{}"
# A node that was cut off closes its door, and opens it when the others are back. In Debian's release that can hang for
# ever (RabbitMQ's issue 6034: its way out of a deadlock does not fit Erlang 25): then it counts as dead, and somebody
# restarts it.
WATCH = """
while sleep 5 && kill -0 $$; do
    if ss -Hltn sport = :5672 | grep -q .; then deaf=0; else deaf=$((deaf + 5)); fi
    [ $deaf -lt 60 ] || kill -KILL $$
done &
exec "$@"
"""
# A scheduler that spins while idle would take CPU time from everything else, and one per core is too many here.
ERLANG_FLAGS = "+S 1:1 +A 4 +sbwt none +sbwtdcpu none +sbwtdio none"


class ConfiguredNode(Node):
    """A program with one file of configuration, made of a template in `conf`, that answers a question on a port."""

    template: ClassVar[str]
    words: ClassVar[tuple[str, ...]]
    user: ClassVar[str | None] = None
    port: ClassVar[int]
    question: ClassVar[bytes] = b"GET / HTTP/1.0\r\n\r\n"
    expected: ClassVar[bytes] = b" 200 "

    def __init__(self, name: str, address: str, folder: Path, **values: str) -> None:
        super().__init__(name, address, folder)
        self._file = self.folder / self.template
        text = (CONFIGURATIONS / self.template).read_text()
        known = {"name": name, "address": address, "folder": str(self.folder), "network": NETWORK}
        self._configuration = Template(text).substitute(known, **values)

    def launch(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write()
        super().launch()

    def program(self) -> Command:
        program, *options = self.words
        arguments = (programs.require(program), *(option.replace(FILE, str(self._file)) for option in options))
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
        return Command(arguments, environment, self.folder, self.user, self._configuration)

    async def answers(self) -> bool:
        return self.expected in await self._ask(self.question)

    async def _ask(self, question: bytes) -> bytes:
        """The beginning of the answer; empty if there is none."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                reader, writer = await asyncio.open_connection(self.address, self.port)
                try:
                    writer.write(question)
                    return await reader.read(1024)
                finally:
                    writer.close()
        except OSError:
            return b""

    def _write(self) -> None:
        passwords.write_private(self._file, self._configuration)


class Etcd(ConfiguredNode):
    """Where Patroni keeps who is the primary; it answers while a majority has a leader."""

    template, words = "etcd.yml", ("etcd", "--config-file", FILE)
    port, question = 2379, b"GET /health HTTP/1.0\r\n\r\n"


class Postgres(ConfiguredNode):
    """PostgreSQL under Patroni, which starts it, promotes it and sets it back."""

    template, words, user = "patroni.yml", ("patroni", FILE), SYSTEM_USER
    port, question = 8008, b"GET /health HTTP/1.0\r\n\r\n"
    start_seconds = 120.0
    stop_seconds = 40.0

    async def role(self) -> str:
        """`primary`, `synchronous`, `asynchronous`, or empty if it does not run, as Patroni on it sees it."""
        for role in ("primary", "synchronous", "asynchronous"):
            if self.expected in await self._ask(f"GET /{role} HTTP/1.0\r\n\r\n".encode()):
                return role
        return ""

    def _write(self) -> None:
        super()._write()
        for path in (self.folder, self._file):
            shutil.chown(path, SYSTEM_USER, SYSTEM_USER)


class Redis(ConfiguredNode):
    """It keeps its file from one start to the next: Sentinel has whose replica it is written there."""

    template = "redis.conf"
    words: ClassVar[tuple[str, ...]] = ("redis-server", FILE)
    port, question, expected = 6379, b"PING\r\n", b"+PONG"

    async def role(self) -> str:
        """`master` or `slave`, Redis' own words, or empty if it does not answer."""
        answer = await self._ask(b"ROLE\r\n")
        return answer.split()[2].decode() if answer else ""

    def _write(self) -> None:
        if not self._file.exists():
            super()._write()


class Sentinel(Redis):
    template = "sentinel.conf"
    words = ("redis-server", FILE, "--sentinel")
    port = 26379


class Proxy(ConfiguredNode):
    """HAProxy, the door of the clients."""

    template, words = "haproxy.cfg", ("haproxy", "-W", "-db", "-f", FILE)
    port, question = 4000, b"GET /health/live HTTP/1.0\r\n\r\n"


class RabbitMQ(ConfiguredNode):
    template = "rabbitmq.conf"
    port, question, expected = 5672, b"AMQP\0\0\x09\x01", b"\x01\0\0"
    start_seconds = 90.0

    def __init__(self, name: str, address: str, folder: Path, *, password: str, cookie: str, nodes: str) -> None:
        super().__init__(name, address, folder, password=password, nodes=nodes)
        self._cookie = cookie

    def program(self) -> Command:
        server = self._own("rabbitmq-server")
        return replace(server, arguments=("/bin/sh", "-c", WATCH, "watch", *server.arguments))

    async def control(self, *arguments: str, program: str = "rabbitmqctl") -> str:
        """What rabbitmqctl printed; it takes a second or two, and StackError if it fails."""
        words = self._own(program, "--node", f"rabbit@{self.name}", *arguments)
        command = self.inside(*words.arguments)
        return await jobs.finish(program, command, CONTROL_SECONDS, environment=words.environment)

    def _own(self, *words: str) -> Command:
        flags = {"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG_FLAGS, "RABBITMQ_CTL_ERL_ARGS": "+S 1:1"}
        return own(f"rabbit@{self.name}", self.folder, self._configuration, words, **flags)

    def _write(self) -> None:
        write_files(self.folder, self._configuration, "", self._cookie)


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
