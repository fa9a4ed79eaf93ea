"""A TCP proxy for one link between two parts, with the faults that a network has."""

import asyncio
import re
import socket
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from typing import cast

from tools.stack import ports
from tools.stack.ports import LOOPBACK

BACKLOG = 128
BUFFER_BYTES = 4 * 1024 * 1024
DIAL_SECONDS = 10.0
# socket(7): lingering is on, for no time. close() drops what is not yet sent and sends RST.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)

# What a client of PostgreSQL sends: statements with the names they are prepared under, executions of those by name,
# and statements without a name, by which transactions begin and end (PostgreSQL §55.7).
PREPARE = re.compile(rb"P.{4}(\w+)\0([^\0]*)\0", re.DOTALL)
EXECUTE = re.compile(rb"B.{4}\0(\w+)\0", re.DOTALL)
TRANSACTION = re.compile(rb"Q.{4}(BEGIN|COMMIT|ROLLBACK)\0", re.DOTALL)
WRITE = re.compile(rb"INSERT INTO|DELETE FROM|\bSET\b")


class Commits:
    """Knows when a client of PostgreSQL asks for a commit, by a transaction or by a single statement that writes."""

    def __init__(self) -> None:
        self._writes: set[bytes] = set()
        self._in_transaction = False

    def is_commit(self, sent: bytes) -> bool:
        """Whether this, sent after all before it, is a commit."""
        self._writes.update(name for name, statement in PREPARE.findall(sent) if WRITE.search(statement))
        for word in TRANSACTION.findall(sent):
            self._in_transaction = word == b"BEGIN"
            if word == b"COMMIT":
                return True
        return not self._in_transaction and not self._writes.isdisjoint(EXECUTE.findall(sent))


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
        self._cuts_answer = False
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

    def cut_answer(self) -> None:
        """The next commit is carried to the target; its answer is lost, and its connection is reset."""
        self._cuts_answer = True

    def lag(self, seconds: float) -> None:
        """Delays each direction; only a reset overtakes what is delayed."""
        self._lag = seconds

    async def heal(self) -> None:
        """Ends every fault. Raises OSError if the port of a cut link was taken meanwhile."""
        if self._is_muted:
            self.reset()
        self._is_muted = self._cuts_answer = False
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
        commits = Commits()
        loses_answer = False

        def see_request(sent: bytes) -> None:
            nonlocal loses_answer
            if commits.is_commit(sent) and self._cuts_answer:
                self._cuts_answer, loses_answer = False, True

        def see_answer(_: bytes) -> None:
            if loses_answer:
                raise ConnectionResetError

        try:
            await self._requests_pass.wait()
            target_reader, target = await self._dial()
            ends.append(target)
            async with asyncio.TaskGroup() as directions:
                directions.create_task(self._carry(client_reader, target, self._requests_pass, see_request))
                directions.create_task(self._carry(target_reader, client, self._answers_pass, see_answer))
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

    async def _carry(
        self, source: StreamReader, sink: StreamWriter, passes: asyncio.Event, see: Callable[[bytes], None]
    ) -> None:
        """Carries one direction until its end. Raises OSError when the source is lost and the link lets that pass.

        `see` is shown what is carried before it is; what it raises is raised.
        """
        has_ended = False
        while not has_ended:
            try:
                data = await source.read(BUFFER_BYTES)
            except OSError:
                await passes.wait()
                raise
            await asyncio.sleep(self._lag)
            await passes.wait()
            see(data)
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
