"""The data folder of a PostgreSQL server: where it can be, how it is made, what a crash leaves in it."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil

from tools.stack import jobs, programs
from tools.stack.errors import StackError

ADMIN = "postgres"
# PostgreSQL refuses to run as root; Debian's package brings this user.
SYSTEM_USER = "postgres"
# Not /var/tmp, where systemd deletes what was not touched for a month.
ELSEWHERE = Path("/var/lib/product-order-system")
INIT_OPTIONS = (
    f"--username={ADMIN}",
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C.UTF-8",
    "--data-checksums",
)
INIT_SECONDS = 60
CHECK_SECONDS = 5


class Cluster:
    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        """`folder` becomes a link if the server's user cannot reach it, and `say` gets a line about where it leads."""
        self.user = SYSTEM_USER if os.geteuid() == 0 else None
        self._folder = folder
        self._say = say

    @property
    def data(self) -> Path:
        return self._folder.resolve() / "data"

    def program(self, name: str) -> str:
        """The program of the version that made the data, if there are any: no other version can read them."""
        version = self.data / "PG_VERSION"
        if version.exists():
            same = programs.POSTGRES_VERSIONS / version.read_text().strip() / "bin" / name
            if same.exists():
                return str(same)
        return str(Path(programs.require("postgres")).with_name(name))

    async def create(self, password: str, *, durable: bool) -> None:
        """Leaves a complete one as it is; takes a second or two."""
        await self._make_folder()
        if self.data.exists():
            return
        draft, password_file = self.data.with_name("draft"), self.data.with_name("password")
        shutil.rmtree(draft, ignore_errors=True)
        password_file.touch(mode=0o600)
        password_file.write_text(password)
        self._give(password_file)
        command = [self.program("initdb"), "-D", str(draft), *INIT_OPTIONS, f"--pwfile={password_file}"]
        if not durable:
            command.append("--no-sync")
        try:
            await jobs.finish("initdb", command, INIT_SECONDS, folder=draft.parent, user=self.user)
        finally:
            password_file.unlink()
        draft.rename(self.data)

    def drop_stale_lock(self) -> None:
        """PostgreSQL would not start if the pid it had before a crash is another process's by now, or a zombie's."""
        lock = self.data / "postmaster.pid"
        with contextlib.suppress(OSError, IndexError, psutil.Error):
            if psutil.Process(int(lock.read_text().split()[0])).cwd() == str(self.data):
                return
        lock.unlink(missing_ok=True)

    def remove(self) -> None:
        """Deletes the data, wherever they are; the server must be stopped."""
        shutil.rmtree(self._folder.resolve(), ignore_errors=True)
        self._folder.unlink(missing_ok=True)

    async def _make_folder(self) -> None:
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        if self.user and not self._folder.exists() and not await self._reachable(self._folder.parent):
            self._link_elsewhere()
        self._folder.mkdir(exist_ok=True)
        self._folder.chmod(0o700)
        self._give(self._folder)

    def _link_elsewhere(self) -> None:
        ELSEWHERE.mkdir(parents=True, exist_ok=True)
        elsewhere = tempfile.mkdtemp(dir=ELSEWHERE)
        self._folder.unlink(missing_ok=True)  # a link that leads nowhere any more
        self._folder.symlink_to(elsewhere)
        self._say(f"PostgreSQL's data is in {elsewhere}: its user cannot reach {self._folder.parent}")

    def _give(self, path: Path) -> None:
        if self.user:
            shutil.chown(path, self.user, self.user)

    async def _reachable(self, folder: Path) -> bool:
        """Asks the kernel in the user's name: modes alone do not decide, there are access lists too."""
        try:
            await jobs.finish("test", ("test", "-x", str(folder)), CHECK_SECONDS, user=self.user)
        except StackError:
            return False
        return True
