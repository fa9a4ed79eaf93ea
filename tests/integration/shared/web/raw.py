"""A peer that sends bytes as they are, and reads what comes back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.api import Answer

_LIMIT = 5.0


class Peer:
    """One connection; every wait of it ends after 5 s."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._version = "HTTP/1.1"  # also of an answer to something else (RFC 9110 §2.5)

    def send(self, data: bytes) -> None:
        if b" HTTP/1.0\r\n" in data:
            self._version = "HTTP/1.0"
        self.writer.write(data)

    def stop_reading(self) -> None:
        assert isinstance(self.writer.transport, asyncio.Transport)
        self.writer.transport.pause_reading()

    def is_over(self) -> bool:
        """Whether the server has closed the connection, and all of it was read."""
        return self._reader.at_eof()

    async def reply(self) -> Answer:
        async with asyncio.timeout(_LIMIT):
            lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            headers = dict(line.lower().split(": ", 1) for line in lines[1:-1])
            body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        assert lines[0].split()[0] == self._version
        return Answer(int(lines[0].split()[1]), headers, body)

    async def rest(self) -> bytes:
        """All that comes until the server closes the connection."""
        async with asyncio.timeout(_LIMIT):
            try:
                return await self._reader.read()
            except ConnectionResetError:
                return b""


@asynccontextmanager
async def connected(port: int, address: str = "127.0.0.1") -> AsyncIterator[Peer]:
    """From that address, which must be one of the loopback device."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    try:
        yield Peer(reader, writer)
    finally:
        writer.transport.abort()
