"""Detached processes that a later run finds again, and never mistakes for a stranger."""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from tools.stack.errors import StackError

POLL_SECONDS = 0.03
KILL_SECONDS = 5.0
LOG_LIMIT = 256 * 1024 * 1024
TAIL_BYTES = 64 * 1024
TAIL_LINES = 15
TAIL_WIDTH = 300
# prctl(2) PR_SET_PDEATHSIG, set by a program: between fork and exec Python code is not safe.
TIE = ("setpriv", "--pdeathsig", "TERM", "--")


@dataclass(frozen=True)
class Command:
    """All that a process is started with; a `user` needs root, `configuration` is the text of files that it reads."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    user: str | None = None
    configuration: str = ""

    @property
    def digest(self) -> str:
        """Differs as soon as any part differs; shows nothing of the environment's secrets."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True)
class Record:
    """A process as written down: a pid counts only with its identity, and not in a copy of the folder."""

    pid: int
    identity: str
    digest: str
    place: str


def identity(pid: int) -> str | None:
    """Boot id and start time, which no later process with this pid has; None if it is gone or a zombie.

    psutil's start time is not used: it moves when the machine's clock is set.
    """
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = status.rpartition(")")[2].split()  # proc(5): the name before it may hold spaces and parentheses
    state, threads, start_time = fields[0], int(fields[17]), fields[19]
    # The first thread can be a zombie while another still ends and holds the open files, listening sockets included.
    if state in "ZX" and threads <= 1:
        return None
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}/{start_time}"


class Daemon:
    """One process with a log and a record of its own, which outlive the program that started it."""

    def __init__(self, name: str, folder: Path, *, tied: bool = False) -> None:
        """Writes `folder`/log/`name`.log and `folder`/run/`name`.json.

        A tied one is sent SIGTERM when the program that started it ends, even if that is killed.
        """
        self.name = name
        self.log = folder / "log" / f"{name}.log"
        self.started_here = False
        self.exit_status: int | None = None
        """The status of the last process that this program started and that has ended; -n if signal n ended it."""
        self._tied = tied
        self._path = folder / "run" / f"{name}.json"

    @property
    def record(self) -> Record | None:
        """The running process, no matter which program started it; None if there is none."""
        try:
            record = Record(**json.loads(self._path.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        runs = (identity(record.pid), self._place) == (record.identity, record.place)
        if self.started_here:
            self._reap(record.pid)  # after the look: one that has ended by then leaves its exit status
        return record if runs else None

    @property
    def pid(self) -> int | None:
        return record.pid if (record := self.record) else None

    def runs(self, command: Command) -> bool:
        """Whether it runs now, started with exactly this command."""
        record = self.record
        return record is not None and record.digest == command.digest

    def start(self, command: Command) -> None:
        """Returns once the program is loaded; StackError if it cannot be."""
        self._make_folders()
        with self.log.open("ab") as log:
            try:
                child = subprocess.Popen(  # noqa: S603  # the command is built from constants
                    (*(TIE if self._tied else ()), *command.arguments),
                    cwd=command.folder,
                    env=command.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    user=command.user,
                    group=command.user,
                    extra_groups=[] if command.user else None,
                )
            except OSError as error:
                raise StackError(f"{self.name} cannot be started: {error}") from error
        child.returncode = 0  # keeps Popen from waiting for the process and from warning that it still runs
        self.started_here = True
        self.exit_status = None
        record = Record(child.pid, identity(child.pid) or "", command.digest, self._place)
        self._path.write_text(json.dumps(asdict(record)))

    def send(self, number: signal.Signals) -> bool:
        """Whether there was a process to send the signal to."""
        with contextlib.suppress(ProcessLookupError):
            if pid := self.pid:
                os.kill(pid, number)
                return True
        return False

    def pause(self) -> None:
        """Freezes it and its children, as a machine that hangs does: connections stay open, no request is answered."""
        self._send_family(signal.SIGSTOP)

    def resume(self) -> None:
        self._send_family(signal.SIGCONT)

    async def stop(self, how: signal.Signals = signal.SIGTERM, limit: float = 20.0) -> None:
        """Ends it, also when it is paused; by SIGKILL after `limit` seconds."""
        if self.send(how):
            self.resume()
            if not await self.ended(limit):
                self.send(signal.SIGKILL)
                if not await self.ended(KILL_SECONDS):
                    raise StackError(f"{self.name} (pid {self.pid}) does not end, not even by SIGKILL")
        self._path.unlink(missing_ok=True)

    async def ended(self, limit: float) -> bool:
        """Waits at most `limit` seconds for it to be gone."""
        try:
            async with asyncio.timeout(limit):
                while self.record is not None:  # noqa: ASYNC110  # only a child's end can be waited for
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            return False
        return True

    async def ready(self, answers: Callable[[], Awaitable[bool]], limit: float) -> None:
        """Waits until `answers`; StackError if it exits first or needs more than `limit` seconds."""
        try:
            async with asyncio.timeout(limit):
                while True:
                    answered = await answers()
                    if self.record is None:  # then a stranger on its port may have answered
                        raise StackError(f"{self.name} ended while starting", self.tail())
                    if answered:
                        return
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            hint = "" if self.started_here else "; it was running already: see `make status`, `make down` ends it"
            raise StackError(f"{self.name} did not get ready within {limit:g} s{hint}", self.tail()) from None

    def tail(self) -> str:
        """Its log's path and last lines, long ones cut."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            last = log.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
        return "\n".join([f"{self.log}:", *(f"  {line[:TAIL_WIDTH]}" for line in last)])

    @property
    def _place(self) -> str:
        """Identifies the record's folder: the same after it was moved, another one in a copy."""
        status = self._path.parent.stat()
        return f"{status.st_dev}:{status.st_ino}"

    def _reap(self, pid: int) -> None:
        """Notes the exit status of a child that has ended; until then it stays a zombie."""
        with contextlib.suppress(ChildProcessError):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self.exit_status = os.waitstatus_to_exitcode(status)

    def _send_family(self, number: signal.Signals) -> None:
        """The parent comes before its children, because a frozen one starts no more of them."""
        if (pid := self.pid) and self.send(number):
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(pid).children():
                    with contextlib.suppress(psutil.NoSuchProcess):
                        child.send_signal(number)

    def _make_folders(self) -> None:
        """Also moves a large log out of the way."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".log.1"))
