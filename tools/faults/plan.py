"""The plan of a round: what clients do and what is broken meanwhile, decided by the round's seed alone."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from shared.messaging import topology
from tools.stack.services import STATEFUL


class Kind(StrEnum):
    """Kinds of faults. A target is the name of a part, or of a link between two parts as in `orders-1>orders-db`."""

    KILL = "kill"
    """SIGKILL of a service, Redis or RabbitMQ, immediate stop of PostgreSQL; healing starts it again."""
    TERMINATE = "terminate"
    """SIGTERM, or a server's own orderly stop; healing starts it again."""
    FREEZE = "freeze"
    """SIGSTOP: connections stay open and nothing answers."""
    RESET = "reset"
    """Every connection of a link is reset, five times a second; new ones are accepted at once."""
    CUT = "cut"
    """Connections of a link are reset and new ones refused."""
    STALL = "stall"
    """A link holds what is sent both ways until it is healed."""
    MUTE = "mute"
    """A link carries requests and holds answers; healing resets its connections."""
    LAG = "lag"
    """A link takes some tenths of a second each way."""
    READ_ONLY = "read only"
    """The database refuses writes, as a standby does."""
    DISK_FULL = "disk full"
    """The database refuses new rows, as one without space does."""
    ALARM = "memory alarm"
    """The broker blocks its publishers."""
    DELETE_QUEUE = "deleted queue"
    """The target is a queue: its consumers are cancelled and its events are lost."""
    DELETE_BINDING = "deleted binding"
    """The target is a queue to which the exchange leads no more."""
    DELETE_DEAD = "deleted dead-letter queue"
    """The target is the queue whose dead letters have no place, and to which comes a message that nobody can read."""
    LOCK = "locked row"
    """A forgotten session holds the lock of a product, or of the newest orders."""
    REFUSE = "refused connections"
    """The database ends its sessions and takes no new ones, as while it is restored or renamed."""
    CUT_ANSWER = "cut answer"
    """A link to a database loses the answer to a commit together with its connection, five times a second."""
    SPOIL = "spoiled cache"
    """Entries of a Redis are replaced, five times a second, by what no service wrote."""
    CLOCK = "clock jump"
    """The clock of a database or Redis jumps by minutes, ahead or back; healing puts it right."""
    RESTORE = "restored dump"
    """A copy of the database is taken, and put back when the fault ends: what came between is lost."""


SERVICES = ("products-1", "products-2", "orders-1", "orders-2", "gateway")
DATABASES = ("products-db", "orders-db")
REDISES = ("products-redis", "orders-redis")
BROKER = "rabbitmq"
PARTS = (*SERVICES, *DATABASES, *REDISES, BROKER)
LINKS = (
    *(f"{name}-{n}>{name}-{server}" for name in STATEFUL for n in (1, 2) for server in ("db", "redis")),
    *(f"{name}-{n}>{BROKER}" for name in STATEFUL for n in (1, 2)),
    *(f"gateway>{name}-{n}" for name in STATEFUL for n in (1, 2)),
    *(f"orders-{n}>products-{n}" for n in (1, 2)),
)
# Of every drawn plan. Their ids count from 1.
PRODUCTS = 7
QUEUES = tuple(queue.name for queue in topology.QUEUES)

Action = Literal["order", "cancel", "confirm", "extend", "adjust", "reprice", "read", "list"]


@dataclass(frozen=True, slots=True)
class Product:
    price: str
    qty: int


@dataclass(frozen=True, slots=True)
class Operation:
    """Something that a client does `at` seconds after the start of the round.

    `product` is an index into the plan's products. `amount` is the quantity of an order or the delta of an adjustment,
    `more` are further products of an order with their quantities, and `hold` is for how many seconds it is held, or
    held from now on. An order that is `priced` names the first price of each product. `price` is the new one of a
    reprice, and `of` the index of the order operation that is cancelled, confirmed or extended. With a `key` the
    request is repeated under it until its answer is certain, and `again` times more after that; with a `reference` an
    order is repeated too.
    """

    at: float
    action: Action
    product: int
    amount: int = 0
    price: str = ""
    of: int = -1
    key: str | None = None
    again: int = 0
    more: tuple[tuple[int, int], ...] = ()
    hold: int = 0
    reference: str | None = None
    priced: bool = False

    @property
    def lines(self) -> tuple[tuple[int, int], ...]:
        """The products of an order with their quantities."""
        return (self.product, self.amount), *self.more

    @property
    def may_be_repeated(self) -> bool:
        """Whether it is done once, however often it is sent."""
        return bool(self.key or self.reference) or self.action in ("cancel", "confirm", "extend")


@dataclass(frozen=True, slots=True)
class Fault:
    """Begins `at` seconds after the start of the round and is healed after `seconds`.

    `size` is the size of a jump or a lag, in seconds.
    """

    at: float
    seconds: float
    kind: Kind
    target: str
    size: float = 0.0

    @property
    def subject(self) -> str:
        """The part or link that is broken."""
        return BROKER if self.target in QUEUES else self.target

    def __str__(self) -> str:
        return f"{self.kind} {self.target}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Products are created first; operations and faults follow, each in the order of their times."""

    seed: int
    seconds: float
    products: tuple[Product, ...]
    operations: tuple[Operation, ...]
    faults: tuple[Fault, ...]
