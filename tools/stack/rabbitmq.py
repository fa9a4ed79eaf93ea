"""A private RabbitMQ with its management UI; shares nothing with another one on the machine."""

import asyncio
import os
import secrets
import signal
from pathlib import Path

import aiormq

from tools.stack import jobs, programs
from tools.stack.ports import LOOPBACK, listens
from tools.stack.processes import Command, Daemon

NODE = "rabbit@localhost"
START_SECONDS = 60.0
EPMD_SECONDS = 5.0
STOP_SECONDS = 30.0
ANSWER_SECONDS = 5.0
CONTROL_SECONDS = 20.0
# Share of the machine's memory from which on publishers are blocked.
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


class RabbitMQ:
    def __init__(
        self, folder: Path, port: int, ui_port: int, epmd_port: int, distribution_port: int, *, tied: bool
    ) -> None:
        self.daemon = Daemon("rabbitmq", folder, tied=tied)
        self.epmd = Daemon("epmd", folder, tied=tied)
        self.port, self.ui_port = port, ui_port
        self.url = f"amqp://guest:guest@{LOOPBACK}:{port}/"
        self.ui_url = f"http://{LOOPBACK}:{ui_port}"
        self._epmd_port = epmd_port
        self._distribution_port = distribution_port
        self._folder = folder / "rabbitmq"
        self._data = self._folder / "data"
        self._configuration = CONFIGURATION.format(host=LOOPBACK, port=port, ui_port=ui_port, watermark=WATERMARK)

    @property
    def started_here(self) -> bool:
        return self.daemon.started_here or self.epmd.started_here

    async def start(self) -> None:
        """Leaves one that runs as it is; returns when it accepts a login."""
        self._write_configuration()
        await self._start_epmd()
        command = self._command("rabbitmq-server")
        if self.daemon.runs(command):
            await self.daemon.ready(self.answers, START_SECONDS)
            return
        await self.daemon.stop(limit=STOP_SECONDS)
        has_data = self._data.exists()
        self.daemon.start(command)
        await self.daemon.ready(self.answers, START_SECONDS)
        if has_data:
            await self.control("eval", ELECTION)

    async def stop(self) -> None:
        await self.daemon.stop(limit=STOP_SECONDS)
        await self.epmd.stop()

    async def kill(self) -> None:
        """Ends it at once, as a crash does; its own shutdown takes RabbitMQ about six seconds."""
        await self.daemon.stop(signal.SIGKILL)
        await self.epmd.stop()

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
        command = self._command("rabbitmqctl", "--node", NODE, *arguments)
        await jobs.finish(
            "rabbitmqctl", command.arguments, CONTROL_SECONDS, folder=command.folder, environment=command.environment
        )

    async def _start_epmd(self) -> None:
        """Runs it in the foreground, as one of ours: the one that Erlang would start outlives the stack."""
        program = str(programs.require("epmd"))
        command = Command((program, "-port", str(self._epmd_port), "-address", LOOPBACK), {}, self._folder)
        if not self.epmd.runs(command):
            await self.epmd.stop()
            self.epmd.start(command)
        await self.epmd.ready(lambda: listens(self._epmd_port), EPMD_SECONDS)

    def _write_configuration(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self._folder / "rabbitmq.conf").write_text(self._configuration)
        (self._folder / "enabled_plugins").write_text("[rabbitmq_management].\n")
        cookie = self._folder / ".erlang.cookie"
        if not cookie.exists():
            cookie.touch(mode=0o600)
            cookie.write_text(secrets.token_hex(32))
        cookie.chmod(0o400)

    def _command(self, program: str, *arguments: str) -> Command:
        """One of RabbitMQ's own programs, in the environment that makes it this broker's."""
        folder = self._folder
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(folder),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_CRASH_DUMP": str(folder / "erl_crash.dump"),
            "RABBITMQ_NODENAME": NODE,
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self._data),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG_FLAGS,
            "RABBITMQ_LOG": "-color",
            # So the start script becomes the Erlang machine instead of its parent, and signals reach that.
            "RABBITMQ_ALLOW_INPUT": "true",
            "RABBITMQ_SERVER_START_ARGS": "-noinput",
        }
        path = str(programs.require(program))
        return Command((path, *arguments), environment, folder, configuration=self._configuration)
