"""One direction of a connection through a proxy: in order, late or held, and never more than fits."""

import asyncio
import socket
from collections import deque
from collections.abc import Callable

CHUNK = 64 * 1024
# Bytes that a flow holds: at a lag of some tenths of a second, megabytes a second still get through.
HELD_LIMIT = 1024 * 1024


class Flow:
    """Carries bytes and then the end from source to sink, and leaves with the sender what it cannot hold."""

    def __init__(
        self,
        source: socket.socket,
        sink: socket.socket,
        *,
        delay: Callable[[], float],
        is_held: Callable[[], bool],
        lost: Callable[[socket.socket], None],
        ended: Callable[[], None],
    ) -> None:
        """`lost` gets the end that broke, and is to stop the flow; `ended` may be told more than once."""
        self._loop = asyncio.get_running_loop()
        self._source, self._sink = source, sink
        self._delay, self._is_held, self._lost, self._ended = delay, is_held, lost, ended
        self._held: deque[tuple[float, memoryview]] = deque()  # with the time of arrival; an empty one is the end
        self._size = 0
        self._source_ended = self._stopped = False
        self._reads = self._writes = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the sink was given all that the source had, and its end."""
        return self._source_ended and not self._held

    def proceed(self) -> None:
        """Gives what is due, then waits for what must come next; to be called when delay or hold have changed."""
        if self._stopped or self._is_held():
            self._wait()
            return
        try:
            sink_is_full = not self._give()
        except OSError:
            self._lost(self._sink)
            return
        self._wait(
            readable=not self._source_ended and self._size < HELD_LIMIT,
            writable=sink_is_full,
            due=self._held[0][0] + self._delay() if self._held and not sink_is_full else None,
        )
        if self.has_ended:
            self._ended()

    def stop(self) -> None:
        """To be called before either end is closed."""
        self._stopped = True
        self._wait()

    def _give(self) -> bool:
        """Whether the sink took all that is due."""
        now = self._loop.time()
        while self._held and self._held[0][0] + self._delay() <= now:
            arrival, rest = self._held[0]
            if not rest:
                self._sink.shutdown(socket.SHUT_WR)
            try:
                sent = self._sink.send(rest) if rest else 0
            except BlockingIOError:
                return False
            self._size -= sent
            if sent < len(rest):
                self._held[0] = arrival, rest[sent:]
            else:
                self._held.popleft()
        return True

    def _take(self) -> None:
        try:
            chunk = self._source.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self._lost(self._source)
            return
        self._held.append((self._loop.time(), memoryview(chunk)))
        self._size += len(chunk)
        self._source_ended = not chunk
        self.proceed()

    def _wait(self, *, readable: bool = False, writable: bool = False, due: float | None = None) -> None:
        """For these and nothing else."""
        if readable != self._reads:
            self._reads = readable
            if readable:
                self._loop.add_reader(self._source, self._take)
            else:
                self._loop.remove_reader(self._source)
        if writable != self._writes:
            self._writes = writable
            if writable:
                self._loop.add_writer(self._sink, self.proceed)
            else:
                self._loop.remove_writer(self._sink)
        if self._timer:
            self._timer.cancel()
        self._timer = None if due is None else self._loop.call_at(due, self.proceed)
