"""The parts of the system: each is a daemon that is started, asked for its state and stopped in the same way."""

import signal
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tools.stack.processes import Command, Daemon

SILENT = "does not answer"


class Server(ABC):
    """A part of the system that runs as a daemon; it can be stopped or killed, and started again on the same port."""

    start_seconds: float
    stop_seconds: float
    stop_signal = signal.SIGTERM
    kill_signal = signal.SIGKILL

    def __init__(self, name: str, folder: Path, *, tied: bool) -> None:
        self.daemon = Daemon(name, folder, tied=tied)

    async def start(self) -> None:
        """Leaves one that runs with the same command as it is; returns when it answers."""
        if not self.daemon.runs(self.command()):
            await self.daemon.stop(self.stop_signal, self.stop_seconds)
            self.launch()
        await self.daemon.ready(self.answers, self.start_seconds)

    def launch(self) -> None:
        """Starts it and does not wait."""
        self.daemon.start(self.command())

    async def stop(self) -> None:
        await self.end(self.stop_signal)

    async def kill(self) -> None:
        """Ends it as a crash does."""
        await self.end(self.kill_signal)

    async def end(self, how: signal.Signals) -> None:
        await self.daemon.stop(how, self.stop_seconds)

    async def state(self) -> str:
        """`up`, `down`, or what is wrong."""
        if self.daemon.pid is None:
            return "down"
        return "up" if await self.answers() else SILENT

    @abstractmethod
    def command(self) -> Command: ...

    @abstractmethod
    async def answers(self) -> bool:
        """Whether it does its work for a client."""


@dataclass(frozen=True)
class Part:
    """A part as a user knows it; two of them may be one server, as the two databases are."""

    name: str
    url: str
    server: Server
    ui: str | None = None
    operator_url: str | None = None

    @property
    def address(self) -> str:
        """Host and port, without the password that the URL may hold."""
        address = urlsplit(self.url)
        return f"{address.hostname}:{address.port}"
