"""What a round does and what it breaks, decided by its seed alone."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Kind(StrEnum):
    """Of faults. A target is the name of a part, or of a link from one part to another as in `orders-1>orders-db`."""

    KILL = "kill"
    """SIGKILL of a service or Redis, immediate stop of PostgreSQL, SIGKILL of RabbitMQ; started again when healed."""
    TERMINATE = "terminate"
    """SIGTERM, or what is a server's orderly stop; started again when healed."""
    FREEZE = "freeze"
    """SIGSTOP: connections stay open, nobody answers."""
    RESET = "reset"
    """Every connection of a link is broken off, again and again; new ones are made at once."""
    CUT = "cut"
    """Connections of a link are broken off and new ones refused."""
    STALL = "stall"
    """What is sent over a link stays in it, both ways, until it is healed."""
    MUTE = "mute"
    """Requests still arrive over a link, answers do not; healing breaks its connections off."""
    LAG = "lag"
    """A link takes some tenths of a second each way."""
    READ_ONLY = "read only"
    """The database refuses writes, as a standby does."""
    DISK_FULL = "disk full"
    """The database refuses new rows, as one without space does."""
    ALARM = "memory alarm"
    """The broker blocks its publishers."""
    DELETE_QUEUE = "deleted queue"
    """The target is a queue; whoever consumes it is cancelled, and what was in it is lost."""
    CLOCK = "clock jump"
    """The clock of a database or Redis jumps by minutes, forth or back, and back again when healed."""


SERVICES = ("products-1", "products-2", "orders-1", "orders-2", "gateway")
DATABASES = ("products-db", "orders-db")
REDISES = ("products-redis", "orders-redis")
BROKER = "rabbitmq"
PARTS = (*SERVICES, *DATABASES, *REDISES, BROKER)
LINKS = (
    *(f"{name}-{n}>{name}-{server}" for name in ("products", "orders") for n in (1, 2) for server in ("db", "redis")),
    *(f"{name}-{n}>{BROKER}" for name in ("products", "orders") for n in (1, 2)),
    *(f"gateway>{name}-{n}" for name in ("products", "orders") for n in (1, 2)),
    *(f"orders-{n}>products-{n}" for n in (1, 2)),
)
QUEUES = ("products.orders", "orders.stock", "orders.products")

Action = Literal["order", "cancel", "adjust", "reprice", "read", "list"]


@dataclass(frozen=True, slots=True)
class Product:
    price: str
    qty: int


@dataclass(frozen=True, slots=True)
class Operation:
    """What a client does `at` seconds after the start of the round.

    `product` is an index into the plan's products. `amount` is the quantity of an order or the delta of an adjustment,
    `price` the new one of a reprice, and `of` the index of the order operation that is cancelled. With a `key` the
    request is repeated under it until its answer is certain, and `again` times more after that.
    """

    at: float
    action: Action
    product: int
    amount: int = 0
    price: str = ""
    of: int = -1
    key: str | None = None
    again: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """Begins `at` seconds after the start of the round and is healed after `seconds`.

    `size` is a jump's or a lag's, in seconds.
    """

    at: float
    seconds: float
    kind: Kind
    target: str
    size: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind} {self.target}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Products come first, then operations and faults by their time."""

    seed: int
    seconds: float
    products: tuple[Product, ...]
    operations: tuple[Operation, ...]
    faults: tuple[Fault, ...]
