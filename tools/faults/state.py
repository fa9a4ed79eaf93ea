"""The state that a round left behind: as the API and the caches show it, and as the operator's own tools find it."""

import asyncio
import math
from argparse import Namespace
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import aiohttp
import orjson
from redis.asyncio import Redis

from ops import broker, letters, outbox
from ops.differences import Difference as RowDifference
from ops.reconcile import reconcile
from ops.settings import DatabaseUrls
from tools.faults.plan import QUEUES, REDISES
from tools.faults.system import System
from tools.stack import logs
from tools.stack.http import call

_LIMIT = 10.0
_HTTP_LIMIT = aiohttp.ClientTimeout(total=_LIMIT)
_REQUESTS_AT_ONCE = 16
_ROWS = 200
_LETTERS = 1_000
_LATE_DROP = "cache bypassed"
# No grace period: everything has settled, and clocks may have jumped by hours.
_ANY_AGE = -math.inf
# Between the two looks of `reconcile`.
_SETTLE_SECONDS = 0.5

Json = dict[str, Any]
Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Shown:
    """The answers of one replica of each service; all but the last two fields are read past the caches."""

    products: Mapping[int, Json]
    movements: Mapping[int, Sequence[Json]]
    """The movements of each product, oldest first."""
    orders: Mapping[int, Json]
    product_views: Mapping[int, Json]
    order_views: Mapping[int, Sequence[Json]]
    """The first page of the orders of each product, newest first."""


@dataclass(frozen=True, slots=True)
class Cached:
    """A key of a Redis; `seconds` until it expires, negative if it never does."""

    redis: str
    key: str
    content: Any
    seconds: float


@dataclass(frozen=True, slots=True)
class State:
    """`replicas` has what the first replicas show and what the second ones do; `rows` are what `reconcile` finds."""

    replicas: Sequence[Shown]
    histories: Mapping[int, Sequence[Json]]
    """The history of each order, oldest first."""
    cached: Sequence[Cached]
    rows: Sequence[RowDifference]
    outboxes: Mapping[str, int]
    """Rows by service."""
    queues: Mapping[str, int]
    """Messages in each queue that exists, unacknowledged ones included."""
    dead_letters: Sequence[Json]
    late_drops: Collection[str] = ()
    """The services that logged that Redis did not take a drop in time."""


async def read(system: System) -> State:
    """Reads a system that has settled. Raises OpsError, OSError, TimeoutError, RedisError."""
    # The caches come before the answers, which fill them.
    cached = [entry for name in REDISES for entry in await _cached(name, system.redises[name].url)]
    async with aiohttp.ClientSession(timeout=_HTTP_LIMIT) as session:
        replicas = [_Replica(session, system, number) for number in (1, 2)]
        shown = [await replica.shown() for replica in replicas]
        histories = {
            order_id: history
            for number, replica in enumerate(replicas)
            for order_id, history in (await replica.histories([*shown[0].orders][number::2])).items()
        }
    found = await reconcile(_urls(system), _ANY_AGE, lambda: asyncio.sleep(_SETTLE_SECONDS))
    listing = Namespace(action="list", queue=None, limit=_LETTERS)
    dead_letters = await letters.run({"AMQP_URL": system.rabbitmq.url}, listing)
    return State(
        replicas=shown,
        histories=histories,
        cached=cached,
        rows=[*found.differences, *found.unfinished],
        outboxes=await _outboxes(system),
        queues=await _depths(system),
        dead_letters=dead_letters.document["deadLetters"],
        late_drops=[
            service
            for service in ("products", "orders")
            if logs.has_event([log for log in system.logs if log.name.startswith(service)], _LATE_DROP)
        ],
    )


async def settled(system: System) -> bool:
    """Whether nothing is in flight any more; the broker counts unacknowledged messages every few seconds only."""
    pending = await call("GET", f"{system.service_url('orders-1')}/orders?status=pending&limit=1")
    if pending.body["data"] or any((await _outboxes(system)).values()):
        return False
    return await _depths(system) == dict.fromkeys(QUEUES, 0)


def _urls(system: System) -> DatabaseUrls:
    products, orders = (system.databases[name].url for name in ("products-db", "orders-db"))
    return DatabaseUrls(products_database_url=products, orders_database_url=orders)


async def _outboxes(system: System) -> dict[str, int]:
    environment = {name.upper(): url for name, url in asdict(_urls(system)).items()}
    return {
        service: waiting["rows"] for service, waiting in (await outbox.run(environment, Namespace())).document.items()
    }


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


class _Replica:
    """Asks the replicas with one number, past the gateway and every proxy."""

    def __init__(self, session: aiohttp.ClientSession, system: System, number: int) -> None:
        self._session = session
        self._products = system.service_url(f"products-{number}")
        self._orders = system.service_url(f"orders-{number}")
        self._slots = asyncio.Semaphore(_REQUESTS_AT_ONCE)

    async def shown(self) -> Shown:
        products = _by_id(await self._all(f"{self._products}/products"))
        return Shown(
            products=products,
            movements=await _each(products, self._movements),
            orders=_by_id(await self._all(f"{self._orders}/orders")),
            product_views=await _each(products, lambda id_: self._data(f"{self._products}/products/{id_}")),
            order_views=await _each(products, lambda id_: self._data(f"{self._orders}/orders/product/{id_}")),
        )

    async def histories(self, order_ids: Iterable[int]) -> dict[int, Sequence[Json]]:
        return await _each(order_ids, lambda id_: self._data(f"{self._orders}/orders/{id_}/history"))

    async def _movements(self, product_id: int) -> Sequence[Json]:
        return (await self._all(f"{self._products}/products/{product_id}/movements"))[::-1]

    async def _all(self, url: str) -> list[Json]:
        """Every page of a list, newest first."""
        rows: list[Json] = []
        cursor: str | None = ""
        while cursor is not None:
            body = await self._get(f"{url}?limit={_ROWS}" + (f"&cursor={cursor}" if cursor else ""))
            rows += body["data"]
            cursor = body["page"]["next"]
        return rows

    async def _data(self, url: str) -> Any:
        return (await self._get(url))["data"]

    async def _get(self, url: str) -> Json:
        """The envelope of a 200. Raises OSError for any other answer."""
        try:
            async with self._slots, self._session.get(url, raise_for_status=True) as response:
                body: Json = await response.json()
                return body
        except aiohttp.ClientError as error:
            raise OSError(f"GET {url}: {error!r}") from error


async def _each(keys: Iterable[Key], get: Callable[[Key], Awaitable[Value]]) -> dict[Key, Value]:
    keys = list(keys)
    return dict(zip(keys, await asyncio.gather(*map(get, keys)), strict=True))


def _by_id(rows: Iterable[Json]) -> dict[int, Json]:
    return {row["id"]: row for row in rows}
