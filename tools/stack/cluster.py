"""The data folder of a PostgreSQL server: where it can be, how it is made, what a crash leaves in it."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tools.stack import programs
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
        """`folder` becomes a link if the server's user cannot reach it, and `say` tells where it leads."""
        self.user = SYSTEM_USER if os.geteuid() == 0 else None
        self._folder = folder
        self._say = say

    @property
    def data(self) -> Path:
        return self._folder.resolve() / "data"

    def program(self, name: str) -> str:
        """Of the version that made the data, if there are any: no other one can read them."""
        version = self.data / "PG_VERSION"
        if version.exists():
            same = programs.POSTGRES_VERSIONS / version.read_text().strip() / "bin" / name
            if same.exists():
                return str(same)
        return str(programs.require("postgres").with_name(name))

    def create(self, password: str, *, durable: bool) -> None:
        """Leaves a complete one as it is; blocks for a second or two."""
        self._make_folder()
        if self.data.exists():
            return
        draft, password_file = self.data.with_name("draft"), self.data.with_name("password")
        shutil.rmtree(draft, ignore_errors=True)
        password_file.touch(mode=0o600)
        password_file.write_text(password)
        self._give(password_file)
        try:
            self._run_initdb(draft, password_file, durable=durable)
        finally:
            password_file.unlink()
        draft.rename(self.data)

    def drop_stale_lock(self) -> None:
        """PostgreSQL would not start if the pid it had before a crash is another process's by now, or a zombie's."""
        lock = self.data / "postmaster.pid"
        try:
            pid = lock.read_text().split()[0]
        except (OSError, IndexError):
            return
        with contextlib.suppress(OSError):  # a process that is gone, and a zombie, work nowhere
            if Path(f"/proc/{pid}/cwd").readlink() == self.data:
                return
        lock.unlink()

    def remove(self) -> None:
        """Deletes the data, wherever they are; the server must be stopped."""
        shutil.rmtree(self._folder.resolve(), ignore_errors=True)
        self._folder.unlink(missing_ok=True)

    def _make_folder(self) -> None:
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        if self.user and not self._folder.exists() and not self._reachable(self._folder.parent):
            ELSEWHERE.mkdir(parents=True, exist_ok=True)
            elsewhere = tempfile.mkdtemp(dir=ELSEWHERE)
            self._folder.unlink(missing_ok=True)  # a link that leads nowhere any more
            self._folder.symlink_to(elsewhere)
            self._say(f"PostgreSQL's data is in {elsewhere}: its user cannot reach {self._folder.parent}")
        self._folder.mkdir(exist_ok=True)
        self._folder.chmod(0o700)
        self._give(self._folder)

    def _give(self, path: Path) -> None:
        if self.user:
            shutil.chown(path, self.user, pwd.getpwnam(self.user).pw_gid)

    def _reachable(self, folder: Path) -> bool:
        """Asked of the kernel, in the user's name: modes alone do not tell, there are access lists too."""
        test = ["test", "-x", str(folder)]
        outcome = subprocess.run(  # noqa: S603  # a constant command
            test, user=self.user, group=self.user, extra_groups=[], check=False, timeout=CHECK_SECONDS
        )
        return outcome.returncode == 0

    def _run_initdb(self, folder: Path, password_file: Path, *, durable: bool) -> None:
        command = [self.program("initdb"), "-D", str(folder), *INIT_OPTIONS, f"--pwfile={password_file}"]
        if not durable:
            command.append("--no-sync")
        outcome = subprocess.run(  # noqa: S603  # the command is built from constants
            command,
            cwd=folder.parent,
            user=self.user,
            group=self.user,
            extra_groups=[] if self.user else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=INIT_SECONDS,
        )
        if outcome.returncode:
            raise StackError("initdb could not make PostgreSQL's data folder", outcome.stderr)
