"""Programs that are needed: where they are, and the Debian packages that bring those that are missing.

apt-get installs them; no server of theirs is started, now or at the next boot.
"""

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.stack import jobs
from tools.stack.errors import StackError
from tools.terminal import say_error

INSTALL_SECONDS = 900
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

# policy-rc.d keeps maintainer scripts from starting servers, createcluster.d keeps postgresql from making a
# default cluster. Both files are deleted when the shell ends; one that an administrator made stays as it is. The lock
# lets one such shell run at a time, because each would delete the files of the others.
SCRIPT = """
set -eu
exec 9> /run/product-order-system.lock
flock -w 600 9
made=
trap 'rm -f $made' EXIT
trap 'exit 130' INT TERM
put() {
    [ -e "$1" ] && return
    made="$made $1"
    mkdir -p "${1%/*}"
    cat > "$1"
    chmod 755 "$1"
}
put /usr/sbin/policy-rc.d <<'END'
#!/bin/sh
exit 101
END
put /etc/postgresql-common/createcluster.d/no-default-cluster.conf <<'END'
create_main_cluster = false
END
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq || echo 'apt-get update failed, trying with the lists that are there'
apt-get install -qq --yes --no-install-recommends -o DPkg::Lock::Timeout=60 "$@"
if command -v systemctl > /dev/null; then
    units=$(dpkg -L "$@" | grep -o '[^/@]*[.]service$')
    for unit in "$@" $units; do systemctl disable --quiet "$unit" 2> /dev/null || true; done
fi
"""


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


def install_missing(packages: Mapping[str, str] = PACKAGES) -> None:
    """Takes Debian packages by program; blocks for as long as apt-get takes. StackError where that is not possible."""
    missing = dict.fromkeys(package for name, package in packages.items() if find(name) is None)
    if missing:
        install(list(missing))


def install(packages: Sequence[str]) -> None:
    """Announces and installs them, as root or with sudo; blocks until then. StackError names those it could not."""
    names = " ".join(packages)
    say_error(f"Installing with apt-get: {names}")
    privilege = () if os.geteuid() == 0 else ("sudo", "-n")
    command = (*privilege, "/bin/sh", "-c", SCRIPT, "install", *packages)
    asyncio.run(jobs.finish(f"apt-get install {names}", command, INSTALL_SECONDS))
