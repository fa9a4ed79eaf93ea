"""A private Redis, used as a cache: nothing on disk, bounded memory."""

import asyncio
import signal
from pathlib import Path

from tools.stack import programs
from tools.stack.ports import LOOPBACK
from tools.stack.processes import Command, Daemon

START_SECONDS = 10.0
STOP_SECONDS = 5.0
ANSWER_SECONDS = 1.0


class Redis:
    def __init__(self, name: str, folder: Path, port: int, *, tied: bool) -> None:
        self.daemon = Daemon(name, folder, tied=tied)
        self.port = port
        self.url = f"redis://{LOOPBACK}:{port}/0"
        self._folder = folder / name

    @property
    def started_here(self) -> bool:
        return self.daemon.started_here

    async def start(self) -> None:
        """Leaves one that runs as it is; returns when it answers."""
        command = self._command()
        if not self.daemon.runs(command):
            await self.stop()
            self._folder.mkdir(parents=True, exist_ok=True)
            self.daemon.start(command)
        await self.daemon.ready(self.answers, START_SECONDS)

    async def stop(self) -> None:
        await self.daemon.stop(limit=STOP_SECONDS)

    async def kill(self) -> None:
        await self.daemon.stop(signal.SIGKILL)

    async def answers(self) -> bool:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                reader, writer = await asyncio.open_connection(LOOPBACK, self.port)
                try:
                    writer.write(b"PING\r\n")
                    return await reader.readline() == b"+PONG\r\n"
                finally:
                    writer.close()
        except OSError:
            return False

    def _command(self) -> Command:
        options = {
            "port": str(self.port),
            "bind": LOOPBACK,
            "save": "",
            "appendonly": "no",
            "maxmemory": "64mb",
            "maxmemory-policy": "volatile-ttl",
        }
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        return Command((str(programs.require("redis-server")), *arguments), {}, self._folder)
