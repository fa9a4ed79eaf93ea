"""What a running system holds on to, measured again and again: the figures, and how they are kept."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Of figures; each is of several parts of the system."""

    MEMORY = "memory"
    """Resident bytes of a part's processes, shared pages counted once."""
    OPEN_FILES = "open files"
    CONNECTIONS = "connections"
    """Of a service to its database."""
    QUEUE = "queue"
    """Messages, those that a consumer holds too."""
    OUTBOX_ROWS = "outbox rows"
    OUTBOX_SIZE = "outbox size"
    """Bytes on disk, with indexes, as all sizes of tables."""
    CACHE = "cache"
    """Bytes that Redis says its data take."""
    TABLE_SIZE = "table size"
    DEAD_ROWS = "dead rows"
    AUTOVACUUMS = "autovacuums"


BYTES = frozenset({Kind.MEMORY, Kind.OUTBOX_SIZE, Kind.CACHE, Kind.TABLE_SIZE})


@dataclass(frozen=True)
class Sample:
    """`seconds` and `orders` since the first; figures by their kind and the name of what they are of."""

    seconds: float
    orders: int
    figures: Mapping[Kind, Mapping[str, float]]


def as_line(sample: Sample) -> str:
    """JSON, without the end of the line."""
    return json.dumps({"seconds": round(sample.seconds, 1), "orders": sample.orders, **sample.figures})


def parse(line: str) -> Sample:
    """Raises ValueError or KeyError for what is no sample."""
    fields = json.loads(line)
    seconds, orders = fields.pop("seconds"), fields.pop("orders")
    return Sample(seconds, orders, {Kind(name): figures for name, figures in fields.items()})
