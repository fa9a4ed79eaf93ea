"""Two releases on one set of servers, with orders in flight: the one before and this one, this one and a later one."""

import asyncio
import json
import sys
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from shared.messaging.topology import QUEUES
from tests.api import connect
from tests.broker import Vhost
from tests.databases import PASSWORD, Databases
from tests.e2e.newer_release import STATUS, make
from tests.e2e.ordering import Ordering, assert_nothing_was_lost_or_doubled, ordering
from tests.e2e.system import System
from tests.waiting import eventually, reaches
from tools.stack import jobs
from tools.stack.servers import Servers
from tools.stack.services import ROOT, python

pytestmark = pytest.mark.timeout(180)

# The commit of the release before, which CHANGELOG.md names.
BEFORE = "e27211c"
SERVICES = ("products", "orders")


@pytest.fixture(scope="module")
async def release_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its source, from the history of the checkout (after a shallow clone: `git fetch --unshallow`)."""
    folder = tmp_path_factory.mktemp("before")
    archive = folder / "source.zip"
    if not (ROOT / ".git").exists() or (ROOT / ".git" / "shallow").exists():
        pytest.skip("this checkout has no history: git fetch --unshallow")
    git = ("git", "-c", f"safe.directory={ROOT}")  # the owner of the checkout may be another user
    command = (*git, "archive", f"--output={archive}", BEFORE, "src", "migrations")
    await jobs.finish("reading the release before", command, 60, folder=ROOT, environment=python())
    with zipfile.ZipFile(archive) as content:
        content.extractall(folder)
    return folder


class Releases:
    """`before` and `after`, each whole, with gateways that know the services of both.

    `checkout` is that of the release after.
    """

    def __init__(self, before: System, after: System, checkout: Path) -> None:
        self.before = before
        self.after = after
        self.checkout = checkout
        for name in SERVICES:
            both = ",".join(system.services[name].url for system in (before, after))
            for system in (before, after):
                system.environments["gateway"][f"{name.upper()}_URL"] = both

    def lines(self, system: System) -> Iterator[dict[str, object]]:
        """What its services have logged."""
        for service in system.services.values():
            yield from map(json.loads, service.daemon.log.read_text().splitlines())


Open = Callable[[Path, Path], AbstractAsyncContextManager[Releases]]


@pytest.fixture
def side_by_side(servers: Servers, databases: Databases, vhost: Vhost, tmp_path: Path) -> Open:
    """Opens the releases of two checkouts, on a schema of the first, made by its own program; nothing runs yet."""

    @asynccontextmanager
    async def opened(before: Path, after: Path) -> AsyncIterator[Releases]:
        async with AsyncExitStack() as stack:
            changes = {}
            for name, redis in zip(SERVICES, (servers.products_redis, servers.orders_redis), strict=True):
                owner_url = await stack.enter_async_context(databases.empty())
                database = urlsplit(owner_url).path[1:]
                # A role of its own: PostgreSQL 16 lets nobody change a role that another has made.
                url = servers.postgres.database_url(f"{name}_of_{database}", PASSWORD, database)
                cache = redis.url.removesuffix("/0") + "/1"
                async with Redis.from_url(cache) as client:
                    await client.flushdb()
                changes[name] = {"DATABASE_URL": url, "REDIS_URL": cache, "AMQP_URL": vhost.url, "OWNER": owner_url}
                await migrate(before, name, changes[name])
            first = System(servers, tmp_path / "first", changes, before)
            second = System(servers, tmp_path / "second", changes, after)
            stack.push_async_callback(first.stop)
            stack.push_async_callback(second.stop)
            yield Releases(first, second, after)

    return opened


async def migrate(checkout: Path, name: str, own: Mapping[str, str]) -> None:
    """By the program of that release."""
    is_old = (checkout / "src/shared/migrate.py").exists()
    command = ("shared.migrate", name) if is_old else ("ops", "migrate", name)
    await program_of(checkout, *command, DATABASE_OWNER_URL=own["OWNER"], DATABASE_URL=own["DATABASE_URL"])


async def program_of(checkout: Path, *command: str, **environment: str) -> str:
    """What it printed; fails if it did."""
    arguments = (sys.executable, "-m", *command)
    return await jobs.finish(
        " ".join(command), arguments, 60, folder=checkout, environment={**python(checkout), **environment}
    )


async def upgrade_schemas(releases: Releases) -> None:
    for name in SERVICES:
        await migrate(releases.checkout, name, releases.after.environments[name])


async def test_an_upgrade_and_the_way_back_under_load_lose_and_bury_nothing(
    side_by_side: Open, release_before: Path, vhost: Vhost
) -> None:
    async with side_by_side(release_before, ROOT) as releases:
        before, after = releases.before, releases.after
        await before.start()
        async with AsyncExitStack() as clients:
            at_before = await clients.enter_async_context(connect(before.url))
            at_after = await clients.enter_async_context(connect(after.url))
            old = await clients.enter_async_context(ordering(at_before))
            await old.accepts(30)
            await upgrade_schemas(releases)
            await old.accepts(30)
            await after.start()
            new = await clients.enter_async_context(ordering(at_after))
            await together(old, new)
            old.stop()
            await before.stop()
            await new.accepts(30)
            # The way back: the schema stays.
            await before.start()
            again = await clients.enter_async_context(ordering(at_before))
            await together(again, new)
            new.stop()
            await after.stop()
            await again.accepts(30)

        # Also while the services of the release before were stopped; what they had at hand may have no known outcome.
        assert not [refusal for refusal in new.refused if refusal.startswith("503")], new.refused
        for orders in (old, new, again):
            await assert_nothing_was_lost_or_doubled(before, orders)
            assert not [refusal for refusal in orders.refused if refusal.startswith("500")], orders.refused
        assert [line for line in releases.lines(after) if line["level"] == "error"] == []
        assert await depths(vhost, ".dead") == [0] * len(QUEUES)
        await program_of(ROOT, "ops", "reconcile", "--settle", "0", **databases_of(before))


async def test_what_a_later_release_alone_can_read_waits_for_it_and_everything_else_goes_on(
    side_by_side: Open, vhost: Vhost, tmp_path: Path
) -> None:
    async with AsyncExitStack() as clients:
        later = make(tmp_path / "later")
        releases = await clients.enter_async_context(side_by_side(ROOT, later))
        before, after = releases.before, releases.after
        await before.start()
        at_before = await clients.enter_async_context(connect(before.url))
        at_after = await clients.enter_async_context(connect(after.url))
        await upgrade_schemas(releases)
        await after.start()
        async with ordering(at_before) as some, ordering(at_after, quantity=2) as postponed:
            await together(some, postponed)
            await eventually(lambda: is_parked(vhost, "products.orders", "orders.stock"), within=30)
            await eventually(lambda: has_status(before, STATUS))
            postponed.stop()
            await after.stop()  # the way back: the schema stays
            await some.accepts(30)
        [(shown,)] = await before.orders("SELECT min(id) FROM orders WHERE status = $1", STATUS)
        of_order = [f"/orders/{shown}{path}" for path in ("", "?wait=5", "/history")]
        lists = ("/orders", f"/orders?productId={postponed.product_id}", f"/orders/product/{postponed.product_id}")
        read = [await at_before.status(path) for path in (*of_order, *lists)]
        await program_of(ROOT, "ops", "reconcile", "--settle", "0", **databases_of(before))

        await after.start()
        await before.stop()
        await program_of(ROOT, "ops", "parked", "retry", "--all", AMQP_URL=vhost.url)
        await assert_nothing_was_lost_or_doubled(after, some)
        await eventually(lambda: after.all_are_final(postponed.product_id), within=30)
        await reaches(lambda: depths(vhost, ".parked"), [0] * len(QUEUES))
        await program_of(later, "ops", "reconcile", "--settle", "0", **databases_of(after))

        assert read == [200] * len(read)
        for orders in (some, postponed):
            assert not [refusal for refusal in orders.refused if refusal.startswith("500")], orders.refused
        for system in (before, after):
            assert [line for line in releases.lines(system) if line["level"] == "error"] == []
        assert await depths(vhost, ".dead") == [0] * len(QUEUES)


async def depths(vhost: Vhost, beside: str) -> list[int]:
    return [await vhost.depth(f"{queue.name}{beside}") for queue in QUEUES]


async def is_parked(vhost: Vhost, *queues: str) -> bool:
    """Whether each of them has parked something."""
    return all([await vhost.depth(f"{queue}.parked") for queue in queues])


async def has_status(system: System, status: str) -> bool:
    return await system.orders("SELECT FROM orders WHERE status = $1 LIMIT 1", status) != []


async def together(*orders: Ordering) -> None:
    async with asyncio.TaskGroup() as group:
        for one in orders:
            group.create_task(one.accepts(30))


def databases_of(system: System) -> dict[str, str]:
    return {f"{name.upper()}_DATABASE_URL": system.environments[name]["DATABASE_URL"] for name in SERVICES}
