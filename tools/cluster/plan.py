"""What is broken in a cluster, in an order that a seed decides: every way once before any comes again."""

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum

from tools.faults.plan import QUEUES, Operation, Plan, Product
from tools.stack.services import NAMES, STATEFUL


class Kind(StrEnum):
    """Ways to break it, as in docs/reliability.md. A target is a node, or leads nodes of a sort or a queue."""

    KILL_POSTGRES = "PostgreSQL killed"
    KILL = "node killed"
    CRASH = "process killed"
    FREEZE = "node frozen"
    CUT_PEERS = "cut off from its peers"
    CUT_CLIENTS = "cut off from its clients"
    SPLIT = "cluster cut in two"
    DISK_FULL = "disk full"
    ROLL = "rolling restart"


PRIMARY = "primary of postgres"
SERVICES, SERVERS = "services", "servers"
# Of a rolling restart.
ORDERS_A_SECOND = 300.0
_SILENT = {Kind.FREEZE, Kind.CUT_PEERS, Kind.CUT_CLIENTS, Kind.SPLIT, Kind.DISK_FULL}


@dataclass(frozen=True, slots=True)
class Fault:
    """Lasts for `seconds`, then it is healed; what takes its own time has none."""

    kind: Kind
    target: str
    seconds: float = 0.0

    @property
    def limit(self) -> float:
        """For how many seconds clients may be without an order: nobody can tell silence from slowness at once."""
        return 45.0 if self.kind in _SILENT else 30.0

    def __str__(self) -> str:
        return f"{self.kind}: {self.target}"


# One of each line is drawn.
_WAYS = (
    [Fault(Kind.KILL_POSTGRES, PRIMARY)],
    [Fault(Kind.KILL, PRIMARY, 20)],
    [Fault(Kind.FREEZE, PRIMARY, 30)],
    [Fault(Kind.CUT_PEERS, PRIMARY, 30)],
    [Fault(Kind.CUT_CLIENTS, PRIMARY, 30)],
    [Fault(Kind.SPLIT, PRIMARY, 30)],
    [Fault(Kind.DISK_FULL, PRIMARY, 20)],
    *([Fault(Kind.KILL, f"rabbit-{n}", 10)] for n in (1, 2, 3)),
    [Fault(Kind.KILL, f"leader of {queue}", 10) for queue in QUEUES],
    *([Fault(Kind.KILL, f"primary of {name}-redis", 10)] for name in STATEFUL),
    [Fault(Kind.KILL, "leader of etcd", 10)],
    [Fault(Kind.CRASH, "proxy-1")],
    *([Fault(Kind.CRASH, f"{name}-{n}") for n in (1, 2)] for name in reversed(NAMES)),
    [Fault(Kind.ROLL, SERVICES)],
    [Fault(Kind.ROLL, SERVERS)],
)


def draw(seed: int, kinds: Collection[Kind]) -> Iterator[Fault]:
    """Faults without end; nothing if no kind is wanted."""
    rng = random.Random(f"{seed} cluster")  # noqa: S311  # a plan is no secret
    while drawn := [fault for way in _WAYS if (fault := rng.choice(way)).kind in kinds]:
        yield from rng.sample(drawn, len(drawn))


def rush(seed: int, seconds: float, rate: float = ORDERS_A_SECOND) -> Plan:
    """Clients who do nothing but order, each a piece of one of three products."""
    operations = (Operation(n / rate, "order", n % 3, 1, key=f"{seed}-{n}") for n in range(int(seconds * rate)))
    return Plan(seed, seconds, (Product("1.00", 1_000_000),) * 3, tuple(operations), ())
