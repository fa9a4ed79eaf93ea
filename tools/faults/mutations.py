"""The system with one of its guards removed: each has to be caught, or the verdict is worth nothing.

A mutation is a copy of the source with some lines exchanged, and the faults that its guard is there for.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tools.faults import scenario
from tools.faults.plan import Fault, Kind, Operation, Plan, Product

SEED = 7
SECONDS = 8.0
# For what only happens where two requests race, some five times in SECONDS, and less on a busy machine.
RACE_SECONDS = 16.0
# Pieces of the last two products: sold out within the round.
_SCARCE = 20


@dataclass(frozen=True)
class Edit:
    """`old` is there exactly once."""

    path: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutation:
    name: str
    edits: Sequence[Edit]
    faults: tuple[Fault, ...] = ()
    operations: tuple[Operation, ...] = ()
    """What clients do instead of what they do in any round."""

    @property
    def plan(self) -> Plan:
        drawn = scenario.draw(SEED, SECONDS, ())
        scarce = tuple(Product(product.price, min(product.qty, _SCARCE)) for product in drawn.products[-2:])
        return replace(
            drawn,
            products=drawn.products[:-2] + scarce,
            operations=self.operations or drawn.operations,
            faults=self.faults,
        )

    def apply(self, source: Path, folder: Path) -> Path:
        """A copy of `source` in `folder`. LookupError if an edit does not fit: the guard looks different by now."""
        copy = folder / "src"
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        for edit in self.edits:
            path = copy / edit.path
            text = path.read_text()
            if text.count(edit.old) != 1:
                raise LookupError(f"{self.name}: {edit.path} has {text.count(edit.old)} times\n{edit.old}")
            path.write_text(text.replace(edit.old, edit.new))
        return copy


def _on_both(kind: Kind, name: str, target: str, at: float, seconds: float) -> tuple[Fault, ...]:
    """The links of both replicas."""
    return tuple(Fault(at, seconds, kind, f"{name}-{number}>{target}") for number in (1, 2))


PUBLISH_BEFORE_COMMIT = Mutation(
    "publish before commit",
    (
        Edit(
            "orders/service.py",
            """\
        async with self._cache.dropping(keys), self._database.connection() as connection:
            stored = await repository.place(connection, drafts)
""",
            """\
        async with self._cache.dropping(keys), self._database.transaction() as connection:
            stored = await repository.place(connection, drafts)
            await self._relay.relay_on(connection)
""",
        ),
        Edit(
            "shared/messaging/outbox.py",
            """\
        async with self._database.transaction(limit=_TRANSACTION) as connection:
            rows = await connection.fetch(_CLAIM, _CLAIM_ROWS)
            await self._publish(sorted(rows, key=lambda row: int(row["id"])))
        METRICS.published.inc(len(rows))
        return len(rows)
""",
            """\
        async with self._database.transaction(limit=_TRANSACTION) as connection:
            return await self.relay_on(connection)

    async def relay_on(self, connection) -> int:
        rows = await connection.fetch(_CLAIM, _CLAIM_ROWS)
        await self._publish(sorted(rows, key=lambda row: int(row["id"])))
        return len(rows)
""",
        ),
    ),
    _on_both(Kind.RESET, "orders", "orders-db", 1.0, 6.5),
)

ACK_BEFORE_COMMIT = Mutation(
    "ack before commit",
    (
        Edit(
            "shared/messaging/consumer.py",
            """\
                await self._process(elements)
                tag = acknowledgements.settle(_tag(message) for message in messages)
                if tag is not None:
                    await channel.basic_ack(tag, multiple=True, wait=False)
""",
            """\
                tag = acknowledgements.settle(_tag(message) for message in messages)
                if tag is not None:
                    await channel.basic_ack(tag, multiple=True, wait=False)
                await self._process(elements)
""",
        ),
    ),
    (
        Fault(2.0, 2.0, Kind.FREEZE, "products-db"),
        Fault(2.6, 0.5, Kind.KILL, "products-1"),
        Fault(3.0, 0.5, Kind.KILL, "products-2"),
    ),
)

NO_INBOX = Mutation(
    "no inbox",
    (
        Edit(
            "products/service.py",
            "settlement = settle(stock, known, requests)",
            "settlement = settle(stock, {}, requests)",
        ),
        Edit(
            "products/repository.py",
            "SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::integer[], $4::text[], $5::text[])\n)",
            "SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::integer[], $4::text[], $5::text[])\n"
            "    ON CONFLICT (order_id) DO NOTHING\n)",
        ),
    ),
    # Longer than a publisher waits for its confirms: they are lost, and the events come twice.
    _on_both(Kind.MUTE, "orders", "rabbitmq", 1.0, 6.0),
)

NO_LEASE = Mutation(
    "no lease",
    (
        Edit(
            "shared/cache.py",
            "if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end\n",
            "",
        ),
    ),
    # What the slow replica has read is old by the time it has it: prices change often, and the other one is quicker.
    (
        Fault(0.5, RACE_SECONDS - 1.5, Kind.LAG, "products-1>products-db", size=0.1),
        Fault(0.5, RACE_SECONDS - 1.5, Kind.LAG, "products-2>products-db", size=0.03),
    ),
    tuple(
        Operation(number / 120, "reprice", number % 7, price=f"{100 + number}.00")
        if number % 8 == 0
        else Operation(number / 120, "read", number % 7)
        for number in range(int(120 * RACE_SECONDS))
    ),
)

STOCK_BY_FORCE = Mutation(
    "GREATEST(qty - n, 0)",
    (
        Edit(
            "products/settlement.py",
            "return Reason.INSUFFICIENT_STOCK if stock < claim.quantity else None",
            "return None",
        ),
        Edit(
            "products/repository.py",
            "SET qty = products.qty + change.delta, updated_at",
            "SET qty = GREATEST(products.qty + change.delta, 0), updated_at",
        ),
    ),
)

DELETE_BEFORE_CONFIRM = Mutation(
    "outbox row deleted before the confirm",
    (
        Edit(
            "shared/messaging/outbox.py",
            """\
            rows = await connection.fetch(_CLAIM, _CLAIM_ROWS)
            await self._publish(sorted(rows, key=lambda row: int(row["id"])))
""",
            """\
            rows = await connection.fetch(_CLAIM, _CLAIM_ROWS)
        await self._publish(sorted(rows, key=lambda row: int(row["id"])))
""",
        ),
    ),
    # What was held on its way when the connection broke never arrives.
    _on_both(Kind.STALL, "orders", "rabbitmq", 1.0, 4.0) + _on_both(Kind.RESET, "orders", "rabbitmq", 2.0, 2.0),
)

SILENCE_ENDS_TASKS = Mutation(
    "a silent broker ends what waits for it",
    (
        Edit(
            "shared/messaging/connection.py",
            """\
        if _is_cancelled():
            raise
        raise aiormq.AMQPConnectionError""",
            """\
        raise
        raise aiormq.AMQPConnectionError""",
        ),
    ),
    # Until its heartbeats are missed.
    (Fault(1.0, 8.5, Kind.FREEZE, "rabbitmq"),),
)

MUTATIONS = (
    PUBLISH_BEFORE_COMMIT,
    ACK_BEFORE_COMMIT,
    NO_INBOX,
    NO_LEASE,
    STOCK_BY_FORCE,
    DELETE_BEFORE_CONFIRM,
    SILENCE_ENDS_TASKS,
)
