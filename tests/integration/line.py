"""A TCP line to a server that a test can cut or hold, while the server itself keeps what it has."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_CHUNK = 64 * 1024


class Line:
    """Connect to `port` on loopback; what the line does not carry, the other side never sees."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self._server_port = port
        self._carries = True
        self._answers = asyncio.Event()
        self._answers.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.lost: bytearray | None = None

    def leads_to(self, port: int) -> None:
        """New connections lead there; those that there are stay where they are."""
        self._server_port = port

    def cut(self) -> None:
        """Every connection breaks, and so does each new one."""
        self._carries = False
        for writer in self._writers:
            writer.transport.abort()

    def hold_answers(self) -> None:
        """Requests still arrive, what the server answers does not; only `cut` ends this."""
        self._answers.clear()

    def lose_answers(self) -> None:
        """What the server sends goes to `lost`; connections stay."""
        self.lost = bytearray()

    def restore(self) -> None:
        self._carries, self.lost = True, None
        self._answers.set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._carries:
            writer.transport.abort()
            return
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:  # the server is down: so is the line
            writer.transport.abort()
            return
        ends = {writer, server_writer}
        self._writers |= ends
        try:
            requests = asyncio.create_task(self._pump(reader, server_writer, answers=False))
            answers = asyncio.create_task(self._pump(server_reader, writer, answers=True))
            try:
                await asyncio.wait({requests, answers}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                requests.cancel()
                answers.cancel()
                await asyncio.wait({requests, answers})
        finally:
            self._writers -= ends
            for end in ends:
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        try:
            while chunk := await reader.read(_CHUNK):
                if answers:
                    await self._answers.wait()
                if answers and self.lost is not None:
                    self.lost += chunk
                    continue
                writer.write(chunk)
                await writer.drain()
        except OSError:
            return


@asynccontextmanager
async def line_to(port: int) -> AsyncIterator[Line]:
    line = Line(port)
    server = await asyncio.start_server(line.carry, "127.0.0.1", 0)
    line.port = server.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        server.close()
        line.cut()
        await server.wait_closed()
