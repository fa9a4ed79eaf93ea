"""A private Redis, used as a cache: nothing on disk, bounded memory."""

import asyncio
from pathlib import Path

from tools.stack import programs
from tools.stack.parts import Server
from tools.stack.ports import LOOPBACK
from tools.stack.processes import Command

ANSWER_SECONDS = 1.0


class Redis(Server):
    start_seconds = 10.0
    stop_seconds = 5.0

    def __init__(self, name: str, folder: Path, port: int, *, tied: bool) -> None:
        super().__init__(name, folder, tied=tied)
        self.port = port
        self.url = f"redis://{LOOPBACK}:{port}/0"
        self._folder = folder / name

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

    def command(self) -> Command:
        self._folder.mkdir(parents=True, exist_ok=True)
        options = {
            "port": str(self.port),
            "bind": LOOPBACK,
            "save": "",
            "appendonly": "no",
            "maxmemory": "64mb",
            "maxmemory-policy": "volatile-ttl",
        }
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        return Command((programs.require("redis-server"), *arguments), {}, self._folder)
