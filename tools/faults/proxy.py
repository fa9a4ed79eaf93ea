"""A TCP proxy for one link between two parts, with the faults that a network has."""

import asyncio
import socket
import struct
from asyncio import StreamReader, StreamWriter
from typing import cast

from tools.stack import ports
from tools.stack.ports import LOOPBACK

BACKLOG = 128
BUFFER_BYTES = 4 * 1024 * 1024
DIAL_SECONDS = 10.0
# socket(7): lingering is on, for no time. close() drops what is not yet sent and sends RST.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Proxy:
    """Clients connect to `port` instead of the target's. Faults may come at any time and add up until `heal`."""

    def __init__(self, target_port: int, port: int | None = None) -> None:
        """Listens on `port`, or on any free one, once it is started."""
        self._target_port = target_port
        self.port = ports.choose() if port is None else port
        self.connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._requests_pass, self._answers_pass = asyncio.Event(), asyncio.Event()
        self._is_muted = False
        self._lag = 0.0

    async def start(self) -> None:
        await self.heal()

    async def stop(self) -> None:
        """Refuses new connections and resets the open ones; returns when they are closed."""
        self.cut()
        if self.connections:
            await asyncio.wait(self.connections)

    def reset(self) -> None:
        """Resets every connection; new ones are accepted."""
        for connection in self.connections:
            connection.cancel()

    def cut(self) -> None:
        """Resets every connection and refuses new ones."""
        if self._server:
            self._server.close()
            self._server = None
        self.reset()

    def stall(self) -> None:
        """Holds all that is sent, ends of connections included; new connections are accepted and held too."""
        self._requests_pass.clear()
        self._answers_pass.clear()

    def mute(self) -> None:
        """Holds what the target sends; healing resets every connection, so that no answer comes late."""
        self._is_muted = True
        self._answers_pass.clear()

    def lag(self, seconds: float) -> None:
        """Delays each direction; only a reset overtakes what is delayed."""
        self._lag = seconds

    async def heal(self) -> None:
        """Ends every fault. Raises OSError if the port of a cut link was taken meanwhile."""
        if self._is_muted:
            self.reset()
        self._is_muted = False
        self._lag = 0.0
        self._requests_pass.set()
        self._answers_pass.set()
        if self._server is None:
            self._server = await asyncio.start_server(
                self._serve, LOOPBACK, self.port, backlog=BACKLOG, limit=BUFFER_BYTES
            )

    async def _serve(self, client_reader: StreamReader, client: StreamWriter) -> None:
        """Lasts until both directions have ended, or until one end is lost; the other one is reset then."""
        connection = cast("asyncio.Task[None]", asyncio.current_task())
        self.connections.add(connection)
        ends = [client]
        try:
            await self._requests_pass.wait()
            target_reader, target = await self._dial()
            ends.append(target)
            async with asyncio.TaskGroup() as directions:
                directions.create_task(self._carry(client_reader, target, self._requests_pass))
                directions.create_task(self._carry(target_reader, client, self._answers_pass))
            for end in ends:
                end.close()
        except* OSError:
            pass  # an end is lost
        finally:
            for end in ends:
                _break_off(end)
            self.connections.discard(connection)

    async def _dial(self) -> tuple[StreamReader, StreamWriter]:
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                return await asyncio.open_connection(LOOPBACK, self._target_port, limit=BUFFER_BYTES)
        except OSError:
            await self._answers_pass.wait()  # a refusal is an answer too
            raise

    async def _carry(self, source: StreamReader, sink: StreamWriter, passes: asyncio.Event) -> None:
        """Carries one direction until its end. Raises OSError when the source is lost and the link lets that pass."""
        has_ended = False
        while not has_ended:
            try:
                data = await source.read(BUFFER_BYTES)
            except OSError:
                await passes.wait()
                raise
            await asyncio.sleep(self._lag)
            await passes.wait()
            has_ended = not data
            try:
                if has_ended:
                    sink.write_eof()
                else:
                    sink.write(data)
                    await sink.drain()
            except OSError:
                return  # the sink is lost, which the other direction finds out


def _break_off(end: StreamWriter) -> None:
    """Drops what is not sent yet, unless the connection has ended already."""
    if not end.is_closing():
        end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        end.transport.abort()
