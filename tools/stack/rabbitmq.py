"""A private RabbitMQ with its management UI; shares nothing with another one on the machine."""

import asyncio
import os
import secrets
import signal
from collections.abc import Sequence
from pathlib import Path

import aiormq

from tools.stack import jobs, programs
from tools.stack.parts import Server
from tools.stack.ports import LOOPBACK, listens
from tools.stack.processes import Command, Daemon

NODE = "rabbit@localhost"
EPMD_SECONDS = 5.0
ANSWER_SECONDS = 5.0
CONTROL_SECONDS = 20.0
# The share of the machine's memory from which on publishers are blocked.
WATERMARK = "0.3"

# The guest user is RabbitMQ's own, and by its default only for loopback connections.
CONFIGURATION = """\
listeners.tcp.local = {host}:{port}
management.tcp.ip = {host}
management.tcp.port = {ui_port}
vm_memory_high_watermark.relative = {watermark}
raft.wal_max_size_bytes = 32000000
log.file = false
log.console = true
log.console.level = info
"""
# Schedulers that spin while idle would take CPU time from everything else on a small machine.
ERLANG_FLAGS = "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none"

# Names of new queues reach the disk some seconds late. Killed before, RabbitMQ 3.10 starts such a queue as a new one
# and leaves it without a leader, so that every declaration of it fails, after further starts too.
ELECTION = """
[ra:trigger_election(Member)
 || Queue <- rabbit_amqqueue:list_by_type(rabbit_quorum_queue),
    Member <- [amqqueue:get_pid(Queue)],
    ra_leaderboard:lookup_leader(element(1, Member)) =:= undefined].
"""


class RabbitMQ(Server):
    start_seconds = 60.0
    stop_seconds = 30.0

    def __init__(
        self, folder: Path, port: int, ui_port: int, epmd_port: int, distribution_port: int, *, tied: bool
    ) -> None:
        super().__init__("rabbitmq", folder, tied=tied)
        self.port = port
        self.url = f"amqp://guest:guest@{LOOPBACK}:{port}/"
        self.ui_url = f"http://{LOOPBACK}:{ui_port}"
        self._epmd = Daemon("epmd", folder, tied=tied)
        self._epmd_port = epmd_port
        self._distribution_port = distribution_port
        self._folder = folder / "rabbitmq"
        self._data = self._folder / "data"
        self._configuration = CONFIGURATION.format(host=LOOPBACK, port=port, ui_port=ui_port, watermark=WATERMARK)

    async def start(self) -> None:
        """Leaves one that runs as it is; returns when it accepts a login."""
        self._write_configuration()
        await self._start_epmd()
        has_queues = self._data.exists() and not self.daemon.runs(self.command())
        await super().start()
        if has_queues:
            await self.control("eval", ELECTION)

    async def end(self, how: signal.Signals) -> None:
        """At once by `kill`; its own shutdown takes RabbitMQ about six seconds."""
        await super().end(how)
        await self._epmd.stop()

    async def answers(self) -> bool:
        if not await listens(self.port):  # aiormq logs each refused connection as an error
            return False
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                connection = await aiormq.connect(self.url)
                await connection.close()
        except (OSError, aiormq.exceptions.AMQPError):
            return False
        return True

    async def control(self, *arguments: str) -> None:
        """Runs rabbitmqctl, which takes a second or two; StackError if it fails."""
        command = self._own("rabbitmqctl", "--node", NODE, *arguments)
        await jobs.finish(
            "rabbitmqctl", command.arguments, CONTROL_SECONDS, folder=command.folder, environment=command.environment
        )

    def command(self) -> Command:
        return self._own("rabbitmq-server")

    async def _start_epmd(self) -> None:
        """Runs Erlang's port mapper as a daemon; the one that Erlang itself would start outlives the stack."""
        arguments = (programs.require("epmd"), "-port", str(self._epmd_port), "-address", LOOPBACK)
        command = Command(arguments, {}, self._folder)
        if not self._epmd.runs(command):
            await self._epmd.stop()
            self._epmd.start(command)
        await self._epmd.ready(lambda: listens(self._epmd_port), EPMD_SECONDS)

    def _write_configuration(self) -> None:
        write_files(self._folder, self._configuration, "rabbitmq_management", secrets.token_hex(32))

    def _own(self, program: str, *arguments: str) -> Command:
        return own(
            NODE,
            self._folder,
            self._configuration,
            (program, *arguments),
            ERL_EPMD_ADDRESS=LOOPBACK,
            ERL_EPMD_PORT=str(self._epmd_port),
            RABBITMQ_DIST_PORT=str(self._distribution_port),
            RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=ERLANG_FLAGS,
        )


def own(node: str, folder: Path, configuration: str, words: Sequence[str], **environment: str) -> Command:
    """One of RabbitMQ's own programs with its arguments, in the environment that makes it this node's."""
    program, *arguments = words
    environment |= {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "HOME": str(folder),
        "ERL_CRASH_DUMP": str(folder / "erl_crash.dump"),
        "RABBITMQ_NODENAME": node,
        "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_LOG": "-color",
        # So the start script becomes the Erlang machine instead of its parent, and signals reach that.
        "RABBITMQ_ALLOW_INPUT": "true",
        "RABBITMQ_SERVER_START_ARGS": "-noinput",
    }
    return Command((programs.require(program), *arguments), environment, folder, configuration=configuration)


def write_files(folder: Path, configuration: str, plugins: str, cookie: str) -> None:
    """What a node reads at its start; a cookie that is there stays."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "rabbitmq.conf").write_text(configuration)
    (folder / "enabled_plugins").write_text(f"[{plugins}].\n")
    kept = folder / ".erlang.cookie"
    if not kept.exists():
        kept.touch(mode=0o600)
        kept.write_text(cookie)
    kept.chmod(0o400)
