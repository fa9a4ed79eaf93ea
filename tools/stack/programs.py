"""The server programs: where they are, and which Debian package brings one that is missing."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from tools.stack import apt
from tools.stack.errors import StackError

PACKAGES = {
    "postgres": "postgresql",
    "redis-server": "redis-server",
    "rabbitmq-server": "rabbitmq-server",
    "rabbitmqctl": "rabbitmq-server",
    "epmd": "rabbitmq-server",
}
POSTGRES_VERSIONS = Path("/usr/lib/postgresql")
# Comes before PATH: the rabbitmq-server in /usr/sbin is Debian's wrapper, which changes user and folders.
RABBITMQ_PROGRAMS = "/usr/lib/rabbitmq/bin"


def find(name: str) -> str | None:
    """The program's path, also in Debian's folders that are not on PATH; of PostgreSQL the newest version."""
    versions = sorted(POSTGRES_VERSIONS.glob("*/bin"), key=lambda folder: -float(folder.parent.name))
    folders = [RABBITMQ_PROGRAMS, *map(str, versions), os.environ.get("PATH", os.defpath), "/usr/sbin"]
    return shutil.which(name, path=os.pathsep.join(folders))


def require(name: str) -> str:
    """The program's path; StackError if it is not installed."""
    found = find(name)
    if found is None:
        raise StackError(f"{name} is not installed (Debian package {PACKAGES.get(name, name)})")
    return found


def install_missing(say: Callable[[str], None], packages: Mapping[str, str] = PACKAGES) -> None:
    """Takes Debian packages by program; blocks for as long as apt-get takes. StackError where that is not possible."""
    missing = dict.fromkeys(package for name, package in packages.items() if find(name) is None)
    if missing:
        apt.install(list(missing), say)
