"""Debian packages, installed with apt-get; no server of theirs is started, now or at the next boot."""

import asyncio
import os
from collections.abc import Callable, Sequence

from tools.stack import jobs

INSTALL_SECONDS = 900

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
    for unit in "$@"; do systemctl disable --quiet "$unit" 2> /dev/null || true; done
fi
"""


def install(packages: Sequence[str], say: Callable[[str], None]) -> None:
    """Announces and installs them, as root or with sudo; blocks until then. StackError names those it could not."""
    names = " ".join(packages)
    say(f"Installing with apt-get: {names}")
    privilege = () if os.geteuid() == 0 else ("sudo", "-n")
    command = (*privilege, "/bin/sh", "-c", SCRIPT, "install", *packages)
    asyncio.run(jobs.finish(f"apt-get install {names}", command, INSTALL_SECONDS))
