"""Several processes behind one socket, and their parent, which does nothing but start and end them."""

import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Callable

_STOPS = {signal.SIGTERM, signal.SIGINT}
_SIGNALS = {*_STOPS, signal.SIGCHLD}
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Seconds: a child that lived so long had started well; the pause before the next one doubles up to the second.
_STARTED, _LONGEST_PAUSE = 10.0, 5.0


def supervise(count: int, listener: socket.socket, work: Callable[[int, dict[str, int]], int]) -> int:
    """Has children `work`, each followed by another when it ends, until SIGTERM or SIGINT; then they get SIGTERM.

    `work` takes a child's number and how the last one ended, and unblocks signals; it dies with its parent. Returns
    0 if all end with 0. There may be no other thread: a child would find locked what that holds.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    parent, prctl = os.getpid(), ctypes.CDLL(None).prctl
    running: dict[int, tuple[int, float, float]] = {}  # by process id: number, pause before it, start

    def start(number: int, pause: float = 0.0, **previous: int) -> None:
        if pid := os.fork():
            running[pid] = number, pause, time.monotonic()
            return
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        sys.exit(0 if os.getppid() != parent or signal.sigtimedwait(_STOPS, pause) else work(number, previous))

    for number in range(count):
        start(number)
    while signal.sigwait(_SIGNALS) not in _STOPS:
        for pid in tuple(running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                number, pause, began = running.pop(pid)
                pause = 2 * pause if time.monotonic() - began < _STARTED else 0.0
                start(number, min(0.1 + pause, _LONGEST_PAUSE), pid=pid, exit_status=os.waitstatus_to_exitcode(status))
    listener.close()
    for pid in running:
        os.kill(pid, signal.SIGTERM)
    return int(sum(os.waitpid(pid, 0)[1] for pid in running) > 0)
