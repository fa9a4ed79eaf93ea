"""The running stack or cluster, as its stack.json describes it."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from tools.stack.errors import StackError
from tools.stack.http import call
from tools.stack.postgres import ELSEWHERE
from tools.stack.services import ROOT

FILE = ROOT / ".local" / "stack.json"
CLUSTER = ELSEWHERE / "cluster"
DOWN = "the system is not up (make up starts it, or make cluster)"
# The two databases are one server.
SERVER_OF = {"products-db": "postgresql", "orders-db": "postgresql"}


@dataclass(frozen=True)
class RunningStack:
    """`url` of each part, which may hold a password, `operator_url` of each database; `pids` of processes.

    The cluster describes neither its processes nor a UI of its broker.
    """

    url: dict[str, str]
    pids: dict[str, int]
    operator_url: dict[str, str] = field(default_factory=dict)
    broker_ui: str = ""
    folder: Path = FILE.parent

    async def check(self) -> None:
        """StackError unless the whole system answers through its gateway."""
        try:
            answer = await call("GET", f"{self.url['gateway']}/health/ready")
        except OSError:
            raise StackError(DOWN) from None
        checks = answer.body["data"].get("checks")
        if checks is None:
            raise StackError("the system was started with API_KEYS, and this has no key: `make up` without them")
        if failed := [name for name, outcome in checks.items() if outcome != "ok"]:
            raise StackError(f"the system is not wholly up, the gateway misses: {', '.join(failed)}")

    def require_processes(self) -> None:
        """StackError where it is the cluster."""
        if not self.pids:
            raise StackError("what is measured is not known of the cluster: this needs the local stack (make up)")


def description(file: Path = FILE) -> Path:
    """Where the stack is described, else the cluster, if that is; the logs of both are in `log` beside it."""
    of_cluster = CLUSTER / FILE.name
    return of_cluster if file == FILE and not FILE.exists() and of_cluster.exists() else file


def load(file: Path = FILE) -> RunningStack:
    """The stack as it was described when it was started, else the cluster; StackError if there is none."""
    file = description(file)
    try:
        parts = json.loads(file.read_text())
    except FileNotFoundError:
        raise StackError(DOWN) from None
    return RunningStack(
        url={name: part["url"] for name, part in parts.items()},
        operator_url={name: part["operator"] for name, part in parts.items() if part.get("operator")},
        broker_ui=parts["rabbitmq"].get("ui") or "",
        pids={SERVER_OF.get(name, name): part["pid"] for name, part in parts.items() if part.get("pid")},
        folder=file.parent,
    )
