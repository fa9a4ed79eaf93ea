"""A TCP proxy for one link between two parts, with the faults that a network has."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import cast

from tools.stack import ports
from tools.stack.ports import LOOPBACK

BACKLOG = 128
DIAL_SECONDS = 10.0
# socket(7): lingering is on, for no time. close() drops what is not yet sent and sends RST.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
END_ON_CLOSE = struct.pack("ii", 0, 0)


class Proxy:
    """Clients connect to `port` instead of the target's. Faults may come at any time and add up until `heal`."""

    def __init__(self, target_port: int, port: int | None = None) -> None:
        """Listens on `port`, or on any free one, once it is started."""
        self._target_port = target_port
        self.port = ports.choose() if port is None else port
        self._listener: socket.socket | None = None
        self._requests_pass, self._answers_pass = asyncio.Event(), asyncio.Event()
        self._is_muted = False
        self._lag = 0.0
        self._connections: dict[asyncio.Task[None], tuple[_End, _End]] = {}

    @property
    def connections(self) -> int:
        """The number of connections of clients that are open now."""
        return len(self._connections)

    async def start(self) -> None:
        self.heal()

    async def stop(self) -> None:
        """Refuses new connections and resets the open ones; returns when they are closed."""
        self.cut()
        if self._connections:
            await asyncio.wait(self._connections)

    def reset(self) -> None:
        """Resets every connection; new ones are accepted."""
        for connection, ends in self._connections.items():
            connection.cancel()
            for end in ends:
                end.abort()

    def cut(self) -> None:
        """Resets every connection and refuses new ones."""
        if self._listener:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        self.reset()

    def stall(self) -> None:
        """Holds all that is sent, ends of connections included; new connections are accepted and held too."""
        self._requests_pass.clear()
        self._answers_pass.clear()
        self._proceed()

    def mute(self) -> None:
        """Holds what the target sends; healing resets every connection, so that no answer comes late."""
        self._is_muted = True
        self._answers_pass.clear()
        self._proceed()

    def lag(self, seconds: float) -> None:
        """Delays each direction; only a reset overtakes what is delayed."""
        self._lag = seconds

    def heal(self) -> None:
        """Ends every fault. Raises OSError if the port of a cut link was taken meanwhile."""
        if self._is_muted:
            self.reset()
        self._is_muted = False
        self._lag = 0.0
        self._requests_pass.set()
        self._answers_pass.set()
        self._proceed()
        if self._listener is None:
            # create_server sets SO_REUSEADDR, since connections of the time before are still in TIME_WAIT.
            self._listener = socket.create_server((LOOPBACK, self.port), backlog=BACKLOG)
            self._listener.setblocking(False)
            asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def _proceed(self) -> None:
        for ends in self._connections.values():
            for end in ends:
                end.proceed()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            accepted, _ = listener.accept()
            client = _End(accepted, self._requests_pass, lambda: self._lag)
            target = _End(socket.socket(), self._answers_pass, lambda: self._lag)
            client.peer, target.peer = target, client
            connection = asyncio.create_task(self._connect(client, target), name=f"link to {self._target_port}")
            self._connections[connection] = client, target
            connection.add_done_callback(self._forget)

    async def _connect(self, client: "_End", target: "_End") -> None:
        """Lasts until one of the ends is lost, and resets the other one then."""
        loop = asyncio.get_running_loop()
        await self._requests_pass.wait()
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                await loop.sock_connect(target.socket, (LOOPBACK, self._target_port))
        except OSError:
            await self._answers_pass.wait()  # a refusal is an answer too
            return
        await loop.create_connection(lambda: client, sock=client.socket)
        await loop.create_connection(lambda: target, sock=target.socket)
        client.proceed()
        target.proceed()
        await asyncio.wait({client.gone, target.gone}, return_when=asyncio.FIRST_COMPLETED)

    def _forget(self, connection: "asyncio.Task[None]") -> None:
        for end in self._connections.pop(connection):
            end.abort()
            if end.transport is None:
                end.socket.close()


class _End(asyncio.Protocol):
    """One side of a connection: what it receives goes to its peer, unless its direction is held."""

    peer: "_End"

    def __init__(self, end: socket.socket, passes: asyncio.Event, lag: Callable[[], float]) -> None:
        self.socket = end
        self.gone = asyncio.get_running_loop().create_future()
        self._passes, self._lag = passes, lag
        self.transport: asyncio.Transport | None = None
        self._early: list[bytes] = []
        self._is_full = self._is_lost = self._has_ended = False
        end.setblocking(False)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        for data in self._early:
            self.write(data)

    def data_received(self, data: bytes) -> None:
        self._pass_on(self.peer.write, data)

    def eof_received(self) -> bool:
        self._pass_on(self.peer.write, b"")
        return True  # the other direction goes on

    def connection_lost(self, _error: Exception | None) -> None:
        self._is_lost = True
        self.proceed()

    def pause_writing(self) -> None:
        self._is_full = True
        self.peer.proceed()

    def resume_writing(self) -> None:
        self._is_full = False
        self.peer.proceed()

    def proceed(self) -> None:
        """Takes from the network what the peer accepts and the link lets pass: the news that this end is lost too."""
        if self._is_lost and self._passes.is_set() and not self.gone.done():
            self.gone.set_result(None)
        elif self.transport and self._passes.is_set() and not self.peer._is_full:
            self.transport.resume_reading()
        elif self.transport:
            self.transport.pause_reading()

    def write(self, data: bytes) -> None:
        """Nothing is the end of this direction; a connection is over when both have ended."""
        if self.transport is None:
            self._early.append(data)
        elif self.transport.is_closing():
            return
        elif data:
            self.transport.write(data)
        else:
            self._has_ended = True
            with contextlib.suppress(OSError):  # it is lost, which its transport notices
                self.transport.write_eof()
            if self.peer._has_ended:
                self._close()
                self.peer._close()

    def abort(self) -> None:
        """Drops what is not sent yet, unless both directions have ended."""
        if self.transport and not (self._has_ended and self.peer._has_ended):
            self.transport.abort()

    def _close(self) -> None:
        if self.transport and not self.transport.is_closing():
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, END_ON_CLOSE)
            self.transport.close()

    def _pass_on(self, write: Callable[[bytes], None], data: bytes) -> None:
        if lag := self._lag():
            asyncio.get_running_loop().call_later(lag, write, data)
        else:
            write(data)
