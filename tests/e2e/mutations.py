"""The system with one of its guards removed: each has to be noticed, or the verdict is worth nothing.

A mutation replaces attributes of the source before the service starts, and has the faults that its guard is there for.
The type checker reads each replacement, so that a guard that was renamed is an error here and not a lost mutation.
As a program it runs the service PROGRAM under the mutation MUTATION, both names of environment variables.
"""

import asyncio
import os
import runpy
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import asyncpg
from aiormq.abc import AbstractConnection

from orders import repository as orders_repository
from orders import service as orders_service
from orders.domain import Draft, Order, product_ids
from products import repository as products_repository
from products import service as products_service
from products import settlement
from products.settlement import Claim, Line, Request, Reservation, Settlement, Shortage
from shared import cache, db
from shared.cache import Cache
from shared.db import Connection, Database
from shared.errors import AppError, Code
from shared.messaging import connection as broker_connection
from shared.messaging import consumer, outbox
from shared.messaging.cloudevents import Unreadable
from shared.messaging.consumer import Consumer
from shared.messaging.deliveries import Received, Waiting
from tools.faults import scenario
from tools.faults.plan import Fault, Kind, Operation, Plan, Product

SEED = 7
SECONDS = 5.0
# Some things happen only where two requests race, a few times in so long and less on a busy machine.
RACE_SECONDS = 8.0
# Others show at once.
_SHORT = 3.0
# Long enough for orders that wait for nothing else to be late.
_LOCK_SECONDS = 7.0
# Pieces of the last two products: they sell out within the round.
_SCARCE = 20


Write: TypeAlias = Callable[[Connection], Awaitable[db.Result]]


@dataclass(frozen=True)
class Mutation:
    name: str
    remove_guard: Callable[[], None]
    faults: Sequence[Fault] = ()
    operations: Sequence[Operation] = ()
    """Replace what clients do in any round."""
    seconds: float = SECONDS

    @property
    def plan(self) -> Plan:
        drawn = scenario.draw(SEED, self.seconds, ())
        scarce = tuple(Product(product.price, min(product.qty, _SCARCE)) for product in drawn.products[-2:])
        return replace(
            drawn,
            products=drawn.products[:-2] + scarce,
            operations=tuple(self.operations) or drawn.operations,
            faults=tuple(self.faults),
        )


def publish_before_commit() -> None:
    async def write(self: orders_service.Orders, drafts: list[Draft]) -> list[Order | None]:
        keys = {
            orders_service._cache_key(id_) for draft in drafts for id_ in product_ids(draft.product_id, draft.lines)
        }
        async with self._cache.dropping(keys), self._database.transaction() as connection:
            stored = await orders_repository.place(connection, drafts)
            rows = await connection.fetch(outbox._CLAIM, outbox._CLAIM_ROWS, 0)
            await _publish(self._relay, rows)
            await asyncio.sleep(0.05)  # so that resets hit this moment on a busy machine too
        return stored

    orders_service.Orders._write = write  # type: ignore[method-assign]  # that is the mutation


def acknowledge_before_commit() -> None:
    process = Consumer._process
    processing: dict[Consumer, asyncio.Task[list[Waiting]]] = {}

    async def begin(self: Consumer, elements: Sequence[Received | Unreadable]) -> list[Waiting]:
        """Returns before the batch is applied, so that it is acknowledged first; the last one is applied by then."""
        if before := processing.get(self):
            await before
        processing[self] = asyncio.create_task(process(self, elements))
        return []

    Consumer._process = begin  # type: ignore[method-assign]  # that is the mutation


def forget_reservations() -> None:
    async def reservations(connection: Connection, order_ids: Sequence[int]) -> dict[int, Reservation]:
        return {}

    products_repository.reservations = reservations
    _edit_settle("$9::bigint[]\n    )\n", "$9::bigint[]\n    )\n    ON CONFLICT (order_id, line) DO NOTHING\n")


def fill_without_lease() -> None:
    cache._FILL = _edited(cache._FILL, "if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end\n", "")


def give_what_is_not_there() -> None:
    def shortage(self: settlement._Batch, line: Line) -> Shortage | None:
        return None if self._has(line) else Shortage(line.product_id, line.quantity, 0)

    settlement._Batch._shortage = shortage  # type: ignore[method-assign]  # that is the mutation
    _edit_settle("products.qty + change.delta", "GREATEST(products.qty + change.delta, 0)")


def reserve_line_by_line() -> None:
    settle = products_repository.settle

    async def in_parts(connection: Connection, settlement: Settlement) -> None:
        for movement in settlement.movements:
            await settle(connection, replace(settlement, made=[], changed=[], movements=[movement], holds={}))
            await connection.execute("COMMIT")
            await asyncio.sleep(0.05)  # so that resets hit this moment on a busy machine too
            await connection.execute("BEGIN")
        await settle(connection, replace(settlement, movements=[]))

    products_repository.settle = in_parts


def expire_what_was_confirmed() -> None:
    is_over = "status = 'held' AND expires_at <= now()"
    orders_repository.EXPIRE = _edited(orders_repository.EXPIRE, is_over, "expires_at <= now()")
    of_look, any_status = "(status = 'held') IS TRUE", "status IN ('held', 'done')"
    orders_repository.LOCK_OVERDUE = _edited(orders_repository.LOCK_OVERDUE, of_look, any_status)


def delete_before_confirm() -> None:
    async def relay(self: outbox.Relay) -> int:
        async with self._database.transaction(limit=outbox._TRANSACTION) as connection:
            rows = await connection.fetch(outbox._CLAIM, outbox._CLAIM_ROWS, 0)
        await _publish(self, rows)
        return len(rows)

    outbox.Relay._relay = relay  # type: ignore[method-assign]  # that is the mutation


def let_silence_end_tasks() -> None:
    is_cancelled = broker_connection.is_cancelled

    def is_cancelled_by_anything() -> bool:
        return is_cancelled() or isinstance(sys.exception(), asyncio.CancelledError)

    broker_connection.is_cancelled = is_cancelled_by_anything


def declare_nothing_again() -> None:
    async def listen(self: Consumer, connection: AbstractConnection) -> None:
        await asyncio.Event().wait()

    Consumer._listen = listen  # type: ignore[method-assign]  # that is the mutation


def blame_what_is_not_known() -> None:
    """The errors that were known to be outages; connections that are not allowed (55000) are not among them."""
    db.FAILURES = (  # type: ignore[assignment]  # that is the mutation
        OSError,
        TimeoutError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
        asyncpg.PostgresConnectionError,
        asyncpg.OperatorInterventionError,
    )

    def blames(error: Exception) -> bool:
        return not (isinstance(error, AppError) and error.code is Code.UNAVAILABLE)

    consumer._blames = blames


def believe_the_cache() -> None:
    get = Cache.get

    async def believing(self: Cache, key: str, load: cache.Load, parse: Callable[[bytes], cache.Value]) -> object:
        value, _ = await self._reads.submit(key)
        return await get(self, key, load, parse) if value is None else cache._parsed(value, parse)

    Cache.get = believing  # type: ignore[method-assign,assignment]  # that is the mutation


def answer_by_number_alone() -> None:
    def is_of(self: Reservation, request: Request) -> bool:
        return True

    announce = products_repository.announce

    async def announce_as_asked(
        connection: Connection, answers: Sequence[tuple[Claim, Reservation]]
    ) -> list[asyncpg.Record]:
        """The order service knows another identity, so the answer has that of the claim."""
        asked = [(claim, of._replace(lines=claim.lines, order_uid=claim.order_uid)) for claim, of in answers]
        return await announce(connection, asked)

    Reservation.is_of = is_of  # type: ignore[method-assign]  # that is the mutation
    products_repository.announce = announce_as_asked


def apply_by_number_alone() -> None:
    orders_repository.APPLY = _edited(orders_repository.APPLY, f" AND {orders_repository._IS_OF}", "")


def wait_for_every_lock() -> None:
    async def settle(self: products_service.Stock, requests: Sequence[Request]) -> Settlement:
        return await self._settle(requests, {line.product_id for request in requests for line in request.lines}, set())

    products_service.Stock.settle = settle  # type: ignore[method-assign]  # that is the mutation


def settle_nothing() -> None:
    async def write(self: Database, work: Write[db.Result], *, first: Write[db.Result] | None = None) -> db.Result:
        async with self.connection() if first else self.transaction() as connection:
            return await (first or work)(connection)

    Database.write = write  # type: ignore[method-assign]  # that is the mutation


async def _publish(relay: outbox.Relay, rows: Sequence[asyncpg.Record]) -> None:
    messages = outbox._messages(sorted(rows, key=lambda row: int(row["id"])))
    for error in await asyncio.gather(*map(relay._send, messages)):
        if error is not None:
            raise error


def _edit_settle(old: str, new: str) -> None:
    products_repository.SETTLE = _edited(products_repository.SETTLE, old, new)


def _edited(text: str, old: str, new: str) -> str:
    """Raises LookupError unless `old` is there exactly once: the guard looks different by now."""
    if text.count(old) != 1:
        raise LookupError(f"{text.count(old)} times {old!r} in {text}")
    return text.replace(old, new)


def _on_both(kind: Kind, name: str, target: str, at: float, seconds: float) -> list[Fault]:
    """The same fault of the links of both replicas."""
    return [Fault(at, seconds, kind, f"{name}-{number}>{target}") for number in (1, 2)]


MUTATIONS = (
    Mutation("publish before commit", publish_before_commit, _on_both(Kind.RESET, "orders", "orders-db", 1.0, 3.5)),
    Mutation(
        "ack before commit",
        acknowledge_before_commit,
        [
            Fault(2.0, 2.0, Kind.FREEZE, "products-db"),
            Fault(2.6, 0.5, Kind.KILL, "products-1"),
            Fault(3.0, 0.5, Kind.KILL, "products-2"),
        ],
    ),
    Mutation(
        "no inbox",
        forget_reservations,
        # Longer than a publisher waits for its confirms: they are lost, and the events come twice.
        _on_both(Kind.MUTE, "orders", "rabbitmq", 0.5, 5.5),
        seconds=6.0,
    ),
    Mutation(
        "no lease",
        fill_without_lease,
        # Prices change often, and what the slower replica has read is old by the time it has it.
        [
            Fault(0.5, RACE_SECONDS - 1.5, Kind.LAG, "products-1>products-db", size=0.1),
            Fault(0.5, RACE_SECONDS - 1.5, Kind.LAG, "products-2>products-db", size=0.03),
        ],
        [
            Operation(number / 120, "reprice", number % 7, price=f"{100 + number}.00")
            if number % 8 == 0
            else Operation(number / 120, "read", number % 7)
            for number in range(int(120 * RACE_SECONDS))
        ],
        RACE_SECONDS,
    ),
    Mutation("GREATEST(qty - n, 0)", give_what_is_not_there, seconds=_SHORT),
    Mutation(
        "an order reserved line by line",
        reserve_line_by_line,
        _on_both(Kind.RESET, "products", "products-db", 1.0, 3.5),
    ),
    Mutation("a confirmed order expires", expire_what_was_confirmed),
    Mutation(
        "outbox row deleted before the confirm",
        delete_before_confirm,
        # What was held on its way when the connection broke never arrives.
        [
            *_on_both(Kind.STALL, "orders", "rabbitmq", 1.0, 4.0),
            *_on_both(Kind.RESET, "orders", "rabbitmq", 2.0, 2.0),
        ],
    ),
    Mutation(
        "a silent broker ends what waits for it",
        let_silence_end_tasks,
        [Fault(1.0, 8.5, Kind.FREEZE, "rabbitmq")],  # until its heartbeats are missed
    ),
    Mutation(
        "a deleted binding stays away",
        declare_nothing_again,
        [Fault(1.0, 1.0, Kind.DELETE_BINDING, "orders.stock")],
        seconds=_SHORT,
    ),
    Mutation(
        "a deleted dead-letter queue stays away",
        declare_nothing_again,
        [Fault(1.0, 1.0, Kind.DELETE_DEAD, "orders.stock")],
        seconds=_SHORT,
    ),
    Mutation(
        "an unknown error blames the event",
        blame_what_is_not_known,
        [Fault(1.0, 1.5, Kind.REFUSE, "products-db")],
        seconds=_SHORT,
    ),
    Mutation("a cache is believed", believe_the_cache, [Fault(1.0, 1.5, Kind.SPOIL, "orders-redis")], seconds=_SHORT),
    Mutation(
        "a reservation answers for its number",
        answer_by_number_alone,
        [Fault(0.5, 1.0, Kind.RESTORE, "orders-db")],
        seconds=_SHORT,
    ),
    Mutation(
        "a verdict is on its number",
        apply_by_number_alone,
        # Verdicts on orders that are lost by the time they arrive.
        [Fault(0.5, 1.0, Kind.RESTORE, "orders-db"), Fault(0.8, 2.0, Kind.STALL, "orders-2>rabbitmq")],
        seconds=_SHORT,
    ),
    Mutation(
        "a locked row holds up all orders",
        wait_for_every_lock,
        [Fault(0.5, _LOCK_SECONDS, Kind.LOCK, "products-db")],
        seconds=_LOCK_SECONDS + 0.5,
    ),
    Mutation(
        "an unknown outcome is called a failure",
        settle_nothing,
        _on_both(Kind.CUT_ANSWER, "orders", "orders-db", 0.5, 2.5),
        seconds=_SHORT,
    ),
)

if __name__ == "__main__":
    [chosen] = [mutation for mutation in MUTATIONS if mutation.name == os.environ["MUTATION"]]
    chosen.remove_guard()
    runpy.run_module(os.environ["PROGRAM"], run_name="__main__", alter_sys=True)
