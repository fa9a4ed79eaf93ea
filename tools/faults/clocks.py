"""The clock of a server, which libfaketime moves while the server runs."""

from pathlib import Path

from tools.stack import programs
from tools.stack.errors import StackError
from tools.terminal import say_error

PACKAGE = "libfaketime"
FOLDER = Path("/usr/lib")
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # where shm_open(3) and sem_open(3) put what they make


def install() -> bool:
    """Whether the library is installed now; blocks for as long as apt-get takes."""
    if _library() is None:
        try:
            programs.install([PACKAGE])
        except StackError as error:
            say_error(f"No clock will jump: {error}")
    return _library() is not None


def _library() -> Path | None:
    return next(FOLDER.glob("*/faketime/libfaketime.so.1"), None)


class Clock:
    """Every process that was started with `environment` reads its offset from `file` once a second.

    It does not work for programs with jemalloc, such as Redis: the library and jemalloc each have to be loaded first.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        file.parent.mkdir(exist_ok=True)
        self.jump(0)
        library = _library()
        self.environment = {} if library is None else self._environment(library)

    def jump(self, seconds: float) -> None:
        """Sets the clock to so many seconds from the true time, not from where it is."""
        draft = self._file.with_suffix(".new")
        draft.write_text(f"{seconds:+f}\n")
        draft.replace(self._file)

    def clear(self, pid: int) -> None:
        """Deletes what the library leaves behind of a process that was killed."""
        for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
            (SHARED_MEMORY / name).unlink(missing_ok=True)

    def _environment(self, library: Path) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            # Time limits run on: it is the wall clock that jumps.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
