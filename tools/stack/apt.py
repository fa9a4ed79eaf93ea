"""Debian packages, installed with apt-get; no server they bring is started, now or at the next boot."""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence

from tools.stack.errors import StackError

INSTALL_SECONDS = 900

# policy-rc.d keeps maintainer scripts from starting servers, createcluster.d keeps postgresql from making a
# default cluster. Both go when the shell ends; one that an administrator made stays as it is. One such shell at a
# time: the files of one would be taken away under another.
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
    for unit in "$@"; do systemctl disable --quiet "$unit" 2> /dev/null || true; done
fi
"""


def install(packages: Sequence[str], say: Callable[[str], None]) -> None:
    """Says what it will install, then does; StackError names the packages where that is not possible."""
    names = " ".join(packages)
    privilege = _privilege()
    if privilege is None:
        raise StackError(f"missing packages, and no way to install them from here: {names}")
    say(f"Installing with apt-get: {names}")
    outcome = subprocess.run(  # noqa: S603  # the command is built from constants
        [*privilege, "/bin/sh", "-c", SCRIPT, "install", *packages],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=INSTALL_SECONDS,
    )
    if outcome.returncode:
        raise StackError(f"apt-get could not install: {names}", outcome.stdout)


def _privilege() -> list[str] | None:
    """What to put before a command that root must run; None without apt-get or the right to use it."""
    if shutil.which("apt-get") is None:
        return None
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo is None:
        return None
    allowed = subprocess.run(  # noqa: S603  # a constant command
        [sudo, "-n", "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=10
    )
    return [sudo, "-n"] if allowed.returncode == 0 else None
