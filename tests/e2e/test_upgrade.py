"""The release before beside this one, on one set of servers: an upgrade and a rollback with orders in flight."""

import asyncio
import json
import sys
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from shared.messaging.topology import QUEUES
from tests.api import connect
from tests.broker import Vhost
from tests.databases import PASSWORD, Databases
from tests.e2e.ordering import Ordering, assert_nothing_was_lost_or_doubled, ordering
from tests.e2e.programs import run
from tests.e2e.system import System
from tools.stack import jobs
from tools.stack.servers import Servers
from tools.stack.services import ROOT, migrate, python

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
    """`before` and `after`, each whole, with gateways that know the services of both."""

    def __init__(self, before: System, after: System) -> None:
        self.before = before
        self.after = after
        for name in SERVICES:
            both = ",".join(system.services[name].url for system in (before, after))
            for system in (before, after):
                system.environments["gateway"][f"{name.upper()}_URL"] = both

    def lines(self, system: System) -> Iterator[dict[str, object]]:
        """What its services have logged."""
        for service in system.services.values():
            yield from map(json.loads, service.daemon.log.read_text().splitlines())


@pytest.fixture
async def releases(
    servers: Servers, databases: Databases, vhost: Vhost, release_before: Path, tmp_path: Path
) -> AsyncIterator[Releases]:
    """On a schema of the release before, made by its own program; nothing runs yet."""
    async with AsyncExitStack() as stack:
        changes = {}
        for name, redis in zip(SERVICES, (servers.products_redis, servers.orders_redis), strict=True):
            owner_url = await stack.enter_async_context(databases.empty())
            database = urlsplit(owner_url).path[1:]
            # A role of its own: PostgreSQL 16 lets nobody change a role that another has made.
            url = servers.postgres.database_url(f"{name}_of_release", PASSWORD, database)
            cache = redis.url.removesuffix("/0") + "/1"
            async with Redis.from_url(cache) as client:
                await client.flushdb()
            changes[name] = {"DATABASE_URL": url, "REDIS_URL": cache, "AMQP_URL": vhost.url, "OWNER": owner_url}
            await jobs.finish(
                f"the first migration of {name}",
                (sys.executable, "-m", "shared.migrate", name),
                60,
                folder=release_before,
                environment={**python(release_before), "DATABASE_OWNER_URL": owner_url, "DATABASE_URL": url},
            )
        systems = Releases(
            System(servers, tmp_path / "before", changes, release_before), System(servers, tmp_path / "after", changes)
        )
        stack.push_async_callback(systems.before.stop)
        stack.push_async_callback(systems.after.stop)
        yield systems


async def upgrade_schemas(releases: Releases) -> None:
    for name in SERVICES:
        own = releases.after.environments[name]
        await migrate(name, own["OWNER"], own["DATABASE_URL"])


async def test_an_upgrade_and_the_way_back_under_load_lose_and_bury_nothing(releases: Releases, vhost: Vhost) -> None:
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

    # Also while the services of the release before were stopped; what they had at hand may then have no known outcome.
    assert not [refusal for refusal in new.refused if refusal.startswith("503")], new.refused
    for orders in (old, new, again):
        await assert_nothing_was_lost_or_doubled(before, orders)
        assert not [refusal for refusal in orders.refused if refusal.startswith("500")], orders.refused
    assert [line for line in releases.lines(after) if line["level"] == "error"] == []
    assert [await vhost.depth(queue.dead) for queue in QUEUES] == [0] * len(QUEUES)
    reconciled = await run("ops", "reconcile", "--settle", "0", environment=databases_of(before))
    assert reconciled.status == 0, reconciled.stdout


async def together(*orders: Ordering) -> None:
    async with asyncio.TaskGroup() as group:
        for one in orders:
            group.create_task(one.accepts(30))


def databases_of(system: System) -> dict[str, str]:
    return {f"{name.upper()}_DATABASE_URL": system.environments[name]["DATABASE_URL"] for name in SERVICES}
