"""A TCP proxy for one link between two parts, with the faults that a network has."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tools.faults.flow import Flow
from tools.stack import ports
from tools.stack.ports import LOOPBACK

BACKLOG = 128
DIAL_SECONDS = 10.0
# socket(7): on, for no time. What is not yet sent is dropped, and close() sends RST.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class State:
    """Of a link: which faults hold, all at once if need be."""

    stalled: bool = False
    muted: bool = False
    delay: float = 0.0

    @property
    def holds_requests(self) -> bool:
        return self.stalled

    @property
    def holds_answers(self) -> bool:
        return self.stalled or self.muted


class Connection:
    """A client's, and the one to the target that belongs to it."""

    def __init__(
        self, client: socket.socket, target_port: int, state: State, closed: Callable[["Connection"], None]
    ) -> None:
        """Owns `client`; does nothing before `proceed`; `closed` is called once, when both ends are."""
        self._loop = asyncio.get_running_loop()
        self._client, self._server = client, socket.socket()
        self._target_port, self._state, self._closed = target_port, state, closed
        self._flows: tuple[Flow, ...] = ()
        self._dialling: asyncio.TimerHandle | None = None
        self._server_is_lost = False
        for end in (self._client, self._server):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def proceed(self) -> None:
        """To be called when the link's state has changed."""
        if self._server_is_lost:
            self._lose(self._server)
        elif self._flows:
            for flow in self._flows:
                flow.proceed()
        elif not self._dialling and not self._state.holds_requests:
            self._dial()

    def reset(self) -> None:
        """Breaks it off on both sides, and drops what it holds."""
        for end in (self._client, self._server):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self._close()

    def _dial(self) -> None:
        self._dialling = self._loop.call_later(DIAL_SECONDS, self._lose, self._server)
        try:
            self._server.connect((LOOPBACK, self._target_port))
        except BlockingIOError:
            self._loop.add_writer(self._server, self._open)
        except OSError:
            self._lose(self._server)
        else:
            self._open()

    def _open(self) -> None:
        """If the target could not be reached, that is the first thing that is read from it."""
        self._stop()
        flow = partial(Flow, delay=lambda: self._state.delay, lost=self._lose, ended=self._end)
        self._flows = (
            flow(self._client, self._server, is_held=lambda: self._state.holds_requests),
            flow(self._server, self._client, is_held=lambda: self._state.holds_answers),
        )
        self.proceed()

    def _lose(self, end: socket.socket) -> None:
        """That the server is gone is an answer, too: it may have to wait."""
        if end is self._server and self._state.holds_answers:
            self._server_is_lost = True
            self._stop()
        else:
            self.reset()

    def _end(self) -> None:
        if all(flow.has_ended for flow in self._flows):
            self._close()

    def _stop(self) -> None:
        if self._dialling:
            self._dialling.cancel()
            self._loop.remove_writer(self._server)
        for flow in self._flows:
            flow.stop()

    def _close(self) -> None:
        self._stop()
        self._client.close()
        self._server.close()
        self._closed(self)


class Proxy:
    """Connect to `port` instead of the target's. Faults may come at any time and add up until `heal`."""

    def __init__(self, name: str, target_port: int) -> None:
        self.name = name
        self._target_port = target_port
        self._port = 0
        self._state = State()
        self._listener: socket.socket | None = None
        self._is_cut = False
        self._connections: set[Connection] = set()

    @property
    def port(self) -> int:
        """Its own, from start to stop."""
        return self._port

    @property
    def connections(self) -> int:
        """Of clients, open now."""
        return len(self._connections)

    async def start(self) -> None:
        self._port = ports.choose()
        self._listen()

    async def stop(self) -> None:
        """Breaks off what is open."""
        self.cut()
        self._is_cut = False

    def reset(self) -> None:
        """Breaks off every connection; new ones go through."""
        for connection in tuple(self._connections):
            connection.reset()

    def cut(self) -> None:
        """Breaks off every connection and refuses new ones."""
        if self._listener:
            self._is_cut = True
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        self.reset()

    def stall(self) -> None:
        """Holds all that is sent, ends of connections included, and accepts new ones that it holds, too."""
        self._state.stalled = True
        self._proceed()

    def mute(self) -> None:
        """Holds what the target sends; healing breaks off every connection, so no answer comes late."""
        self._state.muted = True
        self._proceed()

    def lag(self, seconds: float) -> None:
        """Each direction takes so long; only a reset overtakes what is on its way."""
        self._state.delay = seconds
        self._proceed()

    def heal(self) -> None:
        """Ends every fault; OSError if the port of a cut link is taken by now."""
        if self._state.muted:
            self.reset()
        self._state.stalled = self._state.muted = False
        self._state.delay = 0.0
        if self._is_cut:
            self._listen()
            self._is_cut = False
        self._proceed()

    def _proceed(self) -> None:
        for connection in tuple(self._connections):
            connection.proceed()

    def _listen(self) -> None:
        # Connections of the time before are still in TIME_WAIT: SO_REUSEADDR, which create_server sets.
        self._listener = socket.create_server((LOOPBACK, self._port), backlog=BACKLOG)
        self._listener.setblocking(False)
        asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            client, _ = listener.accept()
            connection = Connection(client, self._target_port, self._state, self._connections.discard)
            self._connections.add(connection)
            connection.proceed()
