"""The state that a round left behind: as the API and the caches show it, and as the operator's own tools find it."""

import asyncio
import math
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

import orjson
from redis.asyncio import Redis

from ops import broker, letters, outbox
from ops.databases import DatabaseUrls, snapshot
from ops.differences import Difference as RowDifference
from ops.reconcile import reconcile
from tools.faults.plan import QUEUES, REDISES
from tools.faults.system import System
from tools.stack import logs
from tools.stack.http import call

_LIMIT = 10.0
_ROWS = 200
_LETTERS = 1_000
_RESERVATIONS = "SELECT order_id, product_id, quantity, outcome, held FROM reservations ORDER BY order_id, line"
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


async def read(system: System) -> State:
    """Reads a system that has settled. Raises OpsError, OSError, TimeoutError, RedisError."""
    # The caches come before the answers, which fill them.
    cached = [entry for name in REDISES for entry in await _cached(name, system.redises[name].url)]
    first_products, first_orders = system.service_url("products-1"), system.service_url("orders-1")
    products = await _all(f"{first_products}/products")
    orders = await _all(f"{first_orders}/orders")
    ids = [product["id"] for product in products]
    movements = {id_: (await _all(f"{first_products}/products/{id_}/movements"))[::-1] for id_ in ids}
    found = await reconcile(DatabaseUrls.load(operators(system)), _ANY_AGE, lambda: asyncio.sleep(_SETTLE_SECONDS))
    dead_letters = await letters.run(
        operators(system), Namespace(command="dead-letters", action="list", queue=None, limit=_LETTERS)
    )
    return State(
        products={product["id"]: product for product in products},
        movements=movements,
        orders={order["id"]: order for order in orders},
        reservations=await _reservations(system.databases["products-db"].url),
        product_views=await _views(system, ids, "products", "/products"),
        order_views=await _views(system, ids, "orders", "/orders/product"),
        cached=cached,
        rows=found.differences,
        outboxes=await _outboxes(system),
        queues=await _depths(system),
        dead_letters=dead_letters.document["deadLetters"],
        bypasses={
            service: [*_bypasses(system, f"{service}-1"), *_bypasses(system, f"{service}-2")]
            for service in ("products", "orders")
        },
    )


def operators(system: System) -> dict[str, str]:
    """The environment of the operator's program."""
    databases = {f"{name.upper()}_DATABASE_URL": system.databases[f"{name}-db"].url for name in ("products", "orders")}
    return {"AMQP_URL": system.rabbitmq.url, **databases}


async def settled(system: System) -> bool:
    """Whether nothing is in flight any more, every order is decided, and every hold that ends soon has ended."""
    url = f"{system.service_url('orders-1')}/orders?limit={_ROWS}&status="
    pending, held = await call("GET", f"{url}pending"), await call("GET", f"{url}held")
    soon = time.time() + SOON_SECONDS
    ends = [order["expiresAt"] for order in held.body["data"]]
    is_over = all(end and datetime.fromisoformat(end).timestamp() > soon for end in ends)
    return not pending.body["data"] and is_over and await is_quiet(system)


async def is_quiet(system: System) -> bool:
    """Whether no event is in flight; the broker counts unacknowledged messages every few seconds only."""
    if any((await _outboxes(system)).values()):
        return False
    return await _depths(system) == dict.fromkeys(QUEUES, 0)


async def _reservations(url: str) -> dict[int, list[Json]]:
    """Raises OpsError."""
    found: dict[int, list[Json]] = {}
    async with snapshot(url, "products-db") as database:
        for row in await database.fetch(_RESERVATIONS):
            found.setdefault(row["order_id"], []).append(dict(row))
    return found


async def _outboxes(system: System) -> dict[str, int]:
    found = await outbox.run(operators(system), Namespace(action=None))
    return {service: waiting["rows"] + waiting["parked"] for service, waiting in found.document.items()}


async def _depths(system: System) -> dict[str, int]:
    """Adds what is ready now to what was delivered and not acknowledged some seconds ago."""
    listed = await call("GET", f"{system.rabbitmq.ui_url.replace('://', '://guest:guest@')}/api/queues")
    depths = {row["name"]: row.get("messages_unacknowledged", 0) for row in listed.body if row["name"] in QUEUES}
    async with broker.connect(system.rabbitmq.url) as connection, asyncio.timeout(_LIMIT):
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


def _bypasses(system: System, replica: str) -> Iterator[tuple[float, float]]:
    began = math.inf
    for line in logs.with_event(system.log(replica), {_BYPASSED, _FLUSHED}):
        if line.fields["event"] == _BYPASSED:
            began = min(began, line.time.timestamp())
        else:
            yield began, line.time.timestamp()
            began = math.inf
    if began < math.inf:
        yield began, math.inf


async def _views(system: System, ids: Iterable[int], service: str, path: str) -> dict[str, dict[int, Any]]:
    return {
        name: {id_: (await _get(f"{system.service_url(name)}{path}/{id_}"))["data"] for id_ in ids}
        for name in (f"{service}-1", f"{service}-2")
    }


async def _all(url: str) -> list[Json]:
    """Every page of a list, newest first."""
    rows: list[Json] = []
    cursor: str | None = ""
    while cursor is not None:
        body = await _get(f"{url}?limit={_ROWS}" + (f"&cursor={cursor}" if cursor else ""))
        rows += body["data"]
        cursor = body["page"]["next"]
    return rows


async def _get(url: str) -> Json:
    """The envelope of a 200. Raises OSError for any other answer."""
    answer = await call("GET", url, limit=_LIMIT)
    if answer.status != HTTPStatus.OK:
        raise OSError(f"GET {url} answered {answer.status}: {answer.body}")
    body: Json = answer.body
    return body
