"""A write whose answer is lost after it was sent: done once and confirmed, or 504 `outcome_unknown`; never a 503."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from redis.asyncio import Redis

from orders.app import create_app as create_orders
from orders.settings import Settings as OrdersSettings
from products.app import create_app as create_products
from products.settings import Settings as ProductsSettings
from tests.api import Answer, Api
from tests.databases import WAITING, as_admin, fetch, owner
from tests.integration.conftest import running
from tests.integration.line import Line, line_to
from tests.integration.services.stock import product
from tests.integration.services.verdicts import ORDER
from tests.waiting import eventually, reaches
from tools.stack.servers import Servers

UNKNOWN = (504, "outcome_unknown", None)
UNAVAILABLE = (503, "unavailable", "1")
_SOFA = {"name": "Sofa", "price": 1, "qty": 1}
_KEYED = {"Idempotency-Key": "key"}
# A commit that touches a row above this id waits as long as a test has the lock.
_WAIT_AT_COMMIT = """
CREATE FUNCTION wait_at_commit() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER wait_at_commit AFTER INSERT OR UPDATE ON {table} DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NEW.id > {above}) EXECUTE FUNCTION wait_at_commit()
"""


@dataclass(frozen=True, slots=True)
class Write:
    """Requests that are sent at once, and the statement that finds what they have done, one row for each."""

    line: str
    content: dict[str, Any] | None
    done: str
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1

    @property
    def service(self) -> str:
        return self.line.split("/")[1]

    async def send(self, api: Api) -> list[Answer]:
        asked = (api.request(*self.line.split(), json=self.content, headers=self.headers) for _ in range(self.times))
        return await asyncio.gather(*asked)


PLACED = "SELECT FROM orders JOIN order_history ON order_id = id WHERE id > 1"
CANCELLED = "SELECT FROM order_history WHERE status = 'cancelled'"
LABELS_CHANGED = "SELECT FROM orders WHERE metadata->>'channel' = 'app'"
CREATED = "SELECT FROM products JOIN stock_movements ON product_id = products.id WHERE products.id > 1"
CHANGED = "SELECT FROM products, generate_series(2, version)"
CORRECTED = "SELECT FROM stock_movements WHERE kind = 'adjustment'"
LABELLED = {**ORDER, "customerId": "c", "reference": "A-1", "metadata": {"channel": "app"}}
OF_LINES = {"lines": [ORDER, {"productId": 8, "quantity": 1}], "holdSeconds": 60}
WRITES = {
    "an order": Write("POST /orders", ORDER, PLACED),
    "an order with a key": Write("POST /orders", ORDER, PLACED, _KEYED),
    # Done twice it would be 409.
    "an order with a reference": Write("POST /orders", LABELLED, PLACED),
    "orders at once": Write("POST /orders", ORDER, PLACED, times=5),
    "a cancellation": Write("POST /orders/1/cancel", None, CANCELLED),
    "an order of lines": Write("POST /orders", OF_LINES, "SELECT FROM orders WHERE lines IS NOT NULL"),
    "a confirmation": Write("POST /orders/1/confirm", None, "SELECT FROM order_history WHERE status = 'done'"),
    "a longer hold": Write(
        "POST /orders/1/hold", {"holdSeconds": 9_000}, "SELECT FROM orders WHERE expires_at > now() + interval '2 h'"
    ),
    "a change of metadata": Write("PATCH /orders/1", {"metadata": {"channel": "app"}}, LABELS_CHANGED),
    "a product": Write("POST /products", _SOFA, CREATED),
    "a product with a key": Write("POST /products", _SOFA, CREATED, _KEYED),
    # Done twice it would be 412.
    "a change of a version": Write("PATCH /products/1", {"name": "Sofa"}, CHANGED, {"If-Match": '"1"'}),
    # Of the last piece: done twice it would be 409.
    "a correction": Write("POST /products/1/stock", {"delta": -1, "reason": "broken"}, CORRECTED),
}


@dataclass(frozen=True, slots=True)
class Site:
    """A service on a line to its database; `release` lets the commits go on that wait."""

    api: Api
    line: Line
    url: str
    write: Write
    release: Callable[[], Awaitable[object]]

    async def times_done(self) -> int:
        return len(await fetch(self.url, self.write.done))

    async def waiting(self) -> int:
        return len(await fetch(self.url, f"SELECT {WAITING}"))

    async def commit_without_answer(self) -> None:
        before = await self.times_done()
        self.line.hold_answers()
        await self.release()

        async def is_committed() -> bool:
            return await self.times_done() > before

        await eventually(is_committed)
        self.line.cut()


async def lose_the_answer(site: Site) -> None:
    await site.commit_without_answer()
    site.line.restore()


async def let_the_session_commit_later(site: Site) -> None:
    """The second attempt waits for the first one."""
    site.line.cut()
    site.line.restore()
    await reaches(site.waiting, 2)
    await site.release()


async def end_the_session(site: Site) -> None:
    """PostgreSQL says so, and has rolled back."""
    await fetch(site.url, f"SELECT pg_terminate_backend(pid) {WAITING}")
    await site.release()


FAULTS: dict[str, Callable[[Site], Awaitable[None]]] = {
    "the answer is lost": lose_the_answer,
    "the database stays away": Site.commit_without_answer,
    "the session still commits": let_the_session_commit_later,
    "the session is ended": end_the_session,
}


@pytest.fixture
def start(
    servers: Servers,
    orders_settings: OrdersSettings,
    products_settings: ProductsSettings,
    redis: Redis,
    orders_redis: Redis,
) -> Callable[[Write], Any]:
    """Starts the service of a write, on a line to its database, with a held order or a product of one piece in it."""

    @asynccontextmanager
    async def started(write: Write) -> AsyncIterator[tuple[Api, Line, str]]:
        async with line_to(servers.postgres.port) as line:
            is_orders = write.service == "orders"
            url = (orders_settings if is_orders else products_settings).database_url
            on_line = url.replace(f":{servers.postgres.port}/", f":{line.port}/")
            if is_orders:
                app = create_orders(replace(orders_settings, database_url=on_line))
            else:
                app = create_products(replace(products_settings, database_url=on_line))
            async with running(app) as api:
                if is_orders:
                    await api.post("/orders", {**ORDER, "holdSeconds": 3_600})
                    await fetch(url, "UPDATE orders SET status = 'held'")
                else:
                    await product(url, qty=1)
                yield api, line, url

    return started


@asynccontextmanager
async def held_up(url: str, table: str, above: int) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """Each commit that changes a row with an id above `above` waits until the function is called."""
    connection = await asyncpg.connect(owner(url))
    try:
        await connection.execute(_WAIT_AT_COMMIT.format(table=table, above=above))
        await connection.execute("SELECT pg_advisory_lock(1)")
        yield lambda: connection.execute("SELECT pg_advisory_unlock(1)")
    finally:
        await connection.close()


def shown(answer: Answer) -> tuple[int, str | None, str | None]:
    return answer.status, answer.code, answer.headers.get("Retry-After")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", WRITES)
async def test_a_write_without_an_answer_is_done_once_or_said_to_be_unknown(
    start: Callable[[Write], Any], name: str, fault: str
) -> None:
    write = WRITES[name]
    async with start(write) as (api, line, url):
        # Of orders at once the first is written alone, and others share the next write.
        async with held_up(url, write.service, above=2 if write.times > 1 else 0) as release:
            site = Site(api, line, url, write, release)
            asked = asyncio.create_task(write.send(api))
            await reaches(site.waiting, 1)
            await FAULTS[fault](site)
            answers = await asked
        done, found = await site.times_done(), Counter(map(shown, answers))
        line.restore()
        again = await write.send(api) if "Idempotency-Key" in write.headers else []
        after = await site.times_done()

    if fault == "the database stays away":
        # Those that waited behind it were never sent.
        assert found[UNKNOWN] + found[UNAVAILABLE] * (write.times > 1) + (write.times > 1) == write.times
        assert done == write.times - found[UNAVAILABLE]
    else:
        assert (found.total(), {answer.status // 100 for answer in answers}, done) == (write.times, {2}, write.times)
        assert write.headers == _KEYED or not any("Idempotency-Replayed" in answer.headers for answer in answers)
    assert [(answer.status, after) for answer in again] == [(201, 1)] * len(again)


@asynccontextmanager
async def unconfirmed(servers: Servers, url: str) -> AsyncIterator[None]:
    """Commits of new sessions on the database wait for a standby that is not there."""
    admin_url, name = servers.postgres.admin_url, urlsplit(url).path[1:]
    await fetch(admin_url, f"ALTER DATABASE {name} SET synchronous_commit = on")
    await fetch(admin_url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    await fetch(admin_url, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    try:
        await fetch(admin_url, "SELECT pg_reload_conf()")

        async def waits() -> bool:
            connection = await asyncpg.connect(as_admin(servers.postgres, url))
            try:
                await connection.execute("DROP TABLE IF EXISTS tried; CREATE TABLE tried ()", timeout=0.2)
            except TimeoutError:
                return True
            finally:
                connection.terminate()
            return False

        await eventually(waits)
        yield
    finally:
        await fetch(admin_url, "ALTER SYSTEM RESET synchronous_standby_names")
        await fetch(admin_url, "SELECT pg_reload_conf()")


@pytest.mark.parametrize(
    ("keyed", "others"),
    [
        ("an order with a key", ["a cancellation"]),
        # The repeat of it must not be told that an order has its reference.
        ("an order with a reference", ["a change of metadata"]),
        ("a product with a key", ["a product", "a correction"]),
    ],
    ids=["orders", "references", "products"],
)
async def test_what_no_standby_has_confirmed_is_not_known(
    start: Callable[[Write], Any], servers: Servers, keyed: str, others: list[str]
) -> None:
    """Nobody sees it meanwhile: the server that takes over may not have it."""
    writes = [WRITES[name] for name in (keyed, *others)]
    async with start(writes[0]) as (api, _, url), unconfirmed(servers, url):
        answers = [answer for [answer] in await asyncio.gather(*(write.send(api) for write in writes))]
        found = [await fetch(url, f"SELECT EXISTS ({write.done})") for write in writes]
        [again] = await writes[0].send(api)

    assert [shown(answer) for answer in answers] == [UNKNOWN] * len(writes)
    assert found == [[(False,)]] * len(writes)
    assert shown(again) in {UNKNOWN, UNAVAILABLE}
