"""A primary and its standby that change places under a service: it follows, and health says while it cannot write."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ops.grants import OF_SERVICES
from ops.migrate import MIGRATIONS, migrate
from products.app import create_app
from products.settings import Settings
from tests.api import Api
from tests.databases import PASSWORD, fetch
from tests.integration.conftest import running
from tests.integration.line import line_to
from tests.integration.outages import hung
from tests.waiting import reaches
from tools.stack import jobs, ports
from tools.stack.postgres import ADMIN, Postgres

pytestmark = pytest.mark.usefixtures("redis")

LAMP = {"name": "Lamp", "price": "19.90", "qty": 5}
_END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'products'"


class Node(Postgres):
    """A server that follows `other` while it is a standby."""

    def __init__(self, folder: Path, port: int, other: int) -> None:
        source = f"host=127.0.0.1 port={other} user={ADMIN} password={PASSWORD}"
        super().__init__(folder, port, PASSWORD, durable=False, settings={"primary_conninfo": source})

    @property
    def url(self) -> str:
        return self.database_url("products", PASSWORD, "products")

    async def demote(self) -> None:
        """Restarts it as a standby: its sessions end, and new ones read."""
        await self.stop()
        (self.data_folder.data / "standby.signal").touch()
        await self.start()

    async def promote(self) -> None:
        await fetch(self.admin_url, "SELECT pg_promote()")


@pytest.fixture
async def nodes(servers_folder: Path) -> AsyncIterator[tuple[Node, Node]]:
    """The primary of products-db, and a standby of it."""
    first, second = ports.choose_each(["first", "second"]).values()
    folder = servers_folder / "failover"
    nodes = primary, standby = Node(folder / "first", first, second), Node(folder / "second", second, first)
    try:
        await primary.start()
        owner_url = await primary.create_database("products", "products_owner", PASSWORD)
        await migrate(owner_url, primary.url, MIGRATIONS / "products", OF_SERVICES["products"])
        await primary.stop()
        standby.data_folder.data.parent.mkdir(parents=True)
        await jobs.finish(
            "cp", ("cp", "--archive", str(primary.data_folder.data), str(standby.data_folder.data)), 30.0
        )
        (standby.data_folder.data / "standby.signal").touch()
        await jobs.together(primary.start(), standby.start())
        yield nodes
    finally:
        for node in nodes:
            await node.kill()
            node.data_folder.remove()
        shutil.rmtree(folder)


@asynccontextmanager
async def service(settings: Settings, url: str) -> AsyncIterator[Api]:
    async with running(create_app(replace(settings, database_url=url))) as api:
        assert await writes(api) == 201
        yield api


async def writes(api: Api) -> int:
    """The status of a write."""
    return (await api.post("/products", LAMP)).status


async def outcome(api: Api) -> tuple[int, str, int]:
    """The status and the database of its health, and the status of a write."""
    health = await api.get("/health/ready")
    return health.status, health.data["checks"]["database"], await writes(api)


READY, UNABLE = (200, "ok", 201), (503, "down", 503)


async def test_sessions_leave_a_demoted_primary_when_its_address_leads_to_the_other(
    products_settings: Settings, nodes: tuple[Node, Node]
) -> None:
    """As a name or a floating address does, which moves after the first service has connected again."""
    primary, standby = nodes
    async with line_to(primary.port) as line:
        url = primary.url.replace(str(primary.port), str(line.port))
        async with service(products_settings, url) as api:
            await primary.demote()
            await standby.promote()
            await reaches(lambda: outcome(api), UNABLE)
            # On as many sessions as it may have.
            assert set(await asyncio.gather(*(api.status("/products") for _ in range(20)))) == {200}
            line.leads_to(standby.port)
            await reaches(lambda: outcome(api), READY, within=3.0)


async def test_when_one_session_is_silent_the_others_are_not_waited_for(
    products_settings: Settings, nodes: tuple[Node, Node]
) -> None:
    """A primary that hangs, or is cut off, ends no session."""
    primary, standby = nodes
    async with line_to(primary.port) as line:
        url = primary.url.replace(str(primary.port), str(line.port))
        async with service(products_settings, url) as api:
            assert set(await asyncio.gather(*(api.status("/products") for _ in range(20)))) == {200}
            async with hung(primary):
                await standby.promote()
                line.leads_to(standby.port)
                async with asyncio.timeout(2.5):
                    assert await writes(api) == 503
                assert set(await asyncio.gather(*(writes(api) for _ in range(20)))) == {201}


async def test_of_several_hosts_the_one_is_found_that_takes_writes(
    products_settings: Settings, nodes: tuple[Node, Node]
) -> None:
    primary, standby = nodes
    url = primary.url.replace(f":{primary.port}/", f":{primary.port},127.0.0.1:{standby.port}/")
    async with service(products_settings, f"{url}?target_session_attrs=read-write") as api:
        await primary.demote()
        await standby.promote()
        await reaches(lambda: outcome(api), READY, within=3.0)
        async with hung(primary):  # accepts and stays silent
            await fetch(standby.admin_url, _END_SESSIONS)
            await reaches(lambda: outcome(api), READY, within=3.0)


async def test_what_is_on_the_disk_of_the_primary_alone_is_not_said_to_be_done_nor_seen_by_anybody(
    products_settings: Settings, nodes: tuple[Node, Node]
) -> None:
    """The standby is stopped, and later promoted without what it has missed."""
    primary, standby = nodes
    await fetch(primary.admin_url, "ALTER SYSTEM SET synchronous_standby_names = '*'")
    await fetch(primary.admin_url, "ALTER DATABASE products SET synchronous_commit = on")
    await fetch(primary.admin_url, "SELECT pg_reload_conf()")
    async with line_to(primary.port) as line:
        url = primary.url.replace(str(primary.port), str(line.port))
        async with service(products_settings, url) as api:
            await standby.kill()
            lost = [await api.post("/products", LAMP) for _ in range(3)]
            assert {(answer.status, answer.headers.get("Retry-After")) for answer in lost} == {(504, None)}
            found = await uids(primary)
            assert len(found) == 1  # what others saw would be published, and then lost
            await primary.kill()
            line.leads_to(standby.port)
            await standby.start()
            await fetch(standby.admin_url, "ALTER SYSTEM RESET synchronous_standby_names")
            await standby.promote()
            await reaches(lambda: outcome(api), READY)
            assert found.items() < (await uids(standby)).items()


async def uids(node: Node) -> dict[str, int]:
    """The identity of each product, and its number."""
    return {str(uid): number for uid, number in await fetch(node.url, "SELECT uid, id FROM products")}
