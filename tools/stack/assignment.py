"""Which part of the local stack has which port, from one run to the next."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from tools.stack import ports
from tools.stack.processes import Daemon

PREFERRED = {
    "gateway": 4000,
    "products": 3001,
    "orders": 3002,
    "postgresql": 5442,
    "products-redis": 6391,
    "orders-redis": 6392,
    "rabbitmq": 5672,
    "rabbitmq-ui": 15672,
}
# Whose port it is, where it is not that of the process of the same name.
LISTENER = {"rabbitmq-ui": "rabbitmq", "erlang-distribution": "rabbitmq"}
# The last two are nobody's to remember.
NAMES = (*PREFERRED, "epmd", "erlang-distribution")


def load(folder: Path) -> dict[str, int]:
    """The ports of the last run; empty if there was none."""
    path = _path(folder)
    assigned: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
    return assigned if set(assigned) == set(NAMES) else {}


def assign(folder: Path, preferred: Mapping[str, int], say: Callable[[str], None]) -> dict[str, int]:
    """What runs keeps its port, and so does, while anything runs, what is to be started beside it."""
    last = load(folder)
    running = {name for name in last if _runs(name, folder)}
    assigned = {name: last[name] for name in running}
    for name in NAMES:
        if name in running:
            continue
        wanted = [port for port in (last.get(name) if running else None, preferred.get(name)) if port]
        assigned[name] = ports.choose(*wanted, taken=assigned.values())
        if wanted and assigned[name] not in wanted:
            say(f"Port {wanted[0]} is taken: {name} gets {assigned[name]}.")
    _path(folder).write_text(json.dumps(assigned, indent=2))
    return assigned


def lost(folder: Path) -> bool:
    """Whether another program listens on a port that is meant for a part of ours which does not run."""
    return any(not ports.is_free(port) for name, port in load(folder).items() if not _runs(name, folder))


def _runs(name: str, folder: Path) -> bool:
    return Daemon(LISTENER.get(name, name), folder).pid is not None


def _path(folder: Path) -> Path:
    return folder / "ports.json"
