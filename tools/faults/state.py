"""The state that a round left behind: as the API and the caches show it, and as the operator's own tools find it."""

import asyncio
import math
import time
from argparse import Namespace
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import orjson
from redis.asyncio import Redis

from ops import broker, letters, outbox
from ops.databases import DatabaseUrls, snapshot
from ops.differences import Difference as RowDifference
from ops.reconcile import reconcile
from shared.settings import each_host
from tools.faults.plan import QUEUES
from tools.stack import logs
from tools.stack.http import call
from tools.stack.services import STATEFUL

_LIMIT = 10.0
_ROWS = 200
_LETTERS = 1_000
_RESERVATIONS = """
SELECT order_id, product_id, quantity, outcome, held FROM reservations WHERE order_id > $1 ORDER BY order_id, line
"""
# What a service logs when Redis has not taken a drop, and when its cache holds nothing old any more.
_BYPASSED, _FLUSHED = "cache bypassed", "cache flushed"
# No grace period: everything has settled, and clocks may have jumped by hours.
_ANY_AGE = -math.inf
# A hold ends within so many seconds, unless it began on a clock that had jumped ahead.
SOON_SECONDS = 60.0
# Between the two looks of `reconcile`.
_SETTLE_SECONDS = 0.5

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Access:
    """Where a system is read: a URL for each replica, database and Redis, past what clients and services go through.

    What the round did not make is left out: orders and products with no higher number than the last ones before it.
    """

    services: Mapping[str, str]
    databases: Mapping[str, str]
    redises: Mapping[str, str]
    broker: str
    unacknowledged: Callable[[], Awaitable[Mapping[str, int]]]
    """How many messages of each queue that exists were delivered and not acknowledged. Raises OSError."""
    logs: Mapping[str, Path]
    """By replica."""
    last_order: int = 0
    last_product: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    """By which the services know who may ask them directly."""


@dataclass(frozen=True, slots=True)
class Cached:
    """A key of a Redis; `seconds` until it expires, negative if it never does."""

    redis: str
    key: str
    content: Any
    seconds: float


@dataclass(frozen=True, slots=True)
class State:
    """All by id. `products`, `movements` and `orders` are read past the caches, the views by way of them."""

    products: Mapping[int, Json]
    movements: Mapping[int, Sequence[Json]]
    """The movements of each product, oldest first."""
    orders: Mapping[int, Json]
    reservations: Mapping[int, Sequence[Json]]
    """The rows of each order, one for each line, as products-db holds them."""
    product_views: Mapping[str, Mapping[int, Json]]
    """The products as each replica shows them."""
    order_views: Mapping[str, Mapping[int, Sequence[Json]]]
    """The first page of the orders of each product, newest first, as each replica shows it."""
    cached: Sequence[Cached]
    rows: Sequence[RowDifference]
    """The differences that `reconcile` finds."""
    outboxes: Mapping[str, int]
    """Rows by service."""
    queues: Mapping[str, int]
    """Messages in each queue that exists, unacknowledged ones included."""
    dead_letters: Sequence[Json]
    bypasses: Mapping[str, Sequence[tuple[float, float]]]
    """By service, when a replica lacked a drop, in seconds since the epoch; without end if it ended before the next
    FLUSHDB."""


async def read(access: Access) -> State:
    """Reads a system that has settled. Raises OpsError, OSError, TimeoutError, RedisError."""
    # The caches come before the answers, which fill them.
    cached = [entry for name, url in access.redises.items() for entry in await _cached(name, url)]
    first_products, first_orders = access.services["products-1"], access.services["orders-1"]
    products = await _all(access, f"{first_products}/products", access.last_product)
    orders = await _all(access, f"{first_orders}/orders", access.last_order)
    ids = [product["id"] for product in products]
    movements = {id_: (await _all(access, f"{first_products}/products/{id_}/movements"))[::-1] for id_ in ids}
    found = await reconcile(DatabaseUrls.load(operators(access)), _ANY_AGE, lambda: asyncio.sleep(_SETTLE_SECONDS))
    dead_letters = await letters.run(
        operators(access), Namespace(command="dead-letters", action="list", queue=None, limit=_LETTERS)
    )
    return State(
        products={product["id"]: product for product in products},
        movements=movements,
        orders={order["id"]: order for order in orders},
        reservations=await _reservations(access.databases["products-db"], access.last_order),
        product_views=await _views(access, ids, "products", "/products"),
        order_views=await _views(access, ids, "orders", "/orders/product"),
        cached=[entry for entry in cached if int(entry.key.rpartition(":")[2]) > access.last_product],
        rows=found.differences,
        outboxes=await _outboxes(access),
        queues=await _depths(access),
        dead_letters=dead_letters.document["deadLetters"],
        bypasses={
            service: [*_bypasses(access.logs[f"{service}-1"]), *_bypasses(access.logs[f"{service}-2"])]
            for service in STATEFUL
        },
    )


def operators(access: Access) -> dict[str, str]:
    """The environment of the operator's program."""
    databases = {f"{name.upper()}_DATABASE_URL": access.databases[f"{name}-db"] for name in STATEFUL}
    return {"AMQP_URL": access.broker, **databases}


async def settled(access: Access) -> bool:
    """Whether nothing is in flight any more, every order is decided, and every hold that ends soon has ended."""
    url = f"{access.services['orders-1']}/orders?limit={_ROWS}&status="
    pending, held = await _get(access, f"{url}pending"), await _get(access, f"{url}held")
    soon = time.time() + SOON_SECONDS
    ends = [order["expiresAt"] for order in held["data"]]
    is_over = all(end and datetime.fromisoformat(end).timestamp() > soon for end in ends)
    return not pending["data"] and is_over and await is_quiet(access)


async def is_quiet(access: Access) -> bool:
    """Whether no event is in flight; the broker counts unacknowledged messages every few seconds only."""
    if any((await _outboxes(access)).values()):
        return False
    return await _depths(access) == dict.fromkeys(QUEUES, 0)


async def _reservations(url: str, last_order: int) -> dict[int, list[Json]]:
    """Raises OpsError."""
    found: dict[int, list[Json]] = {}
    async with snapshot(url, "products-db") as database:
        for row in await database.fetch(_RESERVATIONS, last_order):
            found.setdefault(row["order_id"], []).append(dict(row))
    return found


async def _outboxes(access: Access) -> dict[str, int]:
    found = await outbox.run(operators(access), Namespace(action=None))
    return {service: waiting["rows"] + waiting["parked"] for service, waiting in found.document.items()}


async def _depths(access: Access) -> dict[str, int]:
    """Adds what is ready now to what was delivered and not acknowledged some seconds ago."""
    unacknowledged = await access.unacknowledged()
    depths = {name: count for name, count in unacknowledged.items() if name in QUEUES}
    async with broker.connect(*each_host(access.broker)) as connection, asyncio.timeout(_LIMIT):
        channel = await connection.channel(publisher_confirms=False)
        for name in depths:
            depths[name] += (await channel.queue_declare(name, passive=True)).message_count or 0
    return depths


async def _cached(name: str, url: str) -> list[Cached]:
    """Every key but leases; one that expires meanwhile is left out."""
    async with asyncio.timeout(_LIMIT), Redis.from_url(url) as redis:
        keys = [key.decode() async for key in redis.scan_iter("*") if not key.endswith(b":lease")]
        async with redis.pipeline(transaction=True) as pipeline:  # so that value and time to live belong together
            for key in keys:
                pipeline.get(key)
                pipeline.pttl(key)
            answers = await pipeline.execute()
    return [
        Cached(name, key, orjson.loads(value), milliseconds / 1e3)
        for key, value, milliseconds in zip(keys, answers[::2], answers[1::2], strict=True)
        if value is not None
    ]


def _bypasses(log: Path) -> Iterator[tuple[float, float]]:
    began = math.inf
    for line in logs.with_event(log, {_BYPASSED, _FLUSHED}):
        if line.fields["event"] == _BYPASSED:
            began = min(began, line.time.timestamp())
        else:
            yield began, line.time.timestamp()
            began = math.inf
    if began < math.inf:
        yield began, math.inf


async def _views(access: Access, ids: Iterable[int], service: str, path: str) -> dict[str, dict[int, Any]]:
    return {
        name: {id_: (await _get(access, f"{access.services[name]}{path}/{id_}"))["data"] for id_ in ids}
        for name in (f"{service}-1", f"{service}-2")
    }


async def _all(access: Access, url: str, last: int = 0) -> list[Json]:
    """Every page of a list, newest first, down to the number `last`."""
    rows: list[Json] = []
    cursor: str | None = ""
    while cursor is not None and (not rows or rows[-1]["id"] > last):
        body = await _get(access, f"{url}?limit={_ROWS}" + (f"&cursor={cursor}" if cursor else ""))
        rows += body["data"]
        cursor = body["page"]["next"]
    return [row for row in rows if row["id"] > last]


async def _get(access: Access, url: str) -> Json:
    """The envelope of a 200. Raises OSError for any other answer."""
    answer = await call("GET", url, limit=_LIMIT, headers=access.headers)
    if answer.status != HTTPStatus.OK:
        raise OSError(f"GET {url} answered {answer.status}: {answer.body}")
    body: Json = answer.body
    return body
