"""The servers, started once, and parts of them that belong to one test alone."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.broker import Vhost, Vhosts
from tests.databases import Databases
from tools import observe
from tools.faults import clocks
from tools.stack import programs
from tools.stack.errors import StackError
from tools.stack.servers import Servers

# A file system in memory, and how much room there must be for the servers of every worker.
_MEMORY, _ROOM = Path("/dev/shm"), 4 * 1024**3  # noqa: S108  # the folder in it gets a name that nobody can guess


def pytest_sessionstart(session: pytest.Session) -> None:
    """Before there are workers: apt-get may take longer than a test may. What cannot be installed a test will say."""
    if not hasattr(session.config, "workerinput"):
        with suppress(StackError):
            programs.install_missing({**programs.PACKAGES, **observe.PACKAGES})
            clocks.install()


@pytest.fixture(scope="session")
def servers_folder() -> Path:
    """The servers remove it themselves; unlike pytest's own folders it can be reached by PostgreSQL's user.

    It is in memory where that has room: a database of a test's own is copied there in a fifth of the time.
    """
    in_memory = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _ROOM
    folder = Path(tempfile.mkdtemp(prefix="product-order-system-", dir=_MEMORY if in_memory else None))
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
async def servers(servers_folder: Path) -> AsyncIterator[Servers]:
    """PostgreSQL, two Redis and RabbitMQ; a test that stops one starts it again."""
    async with Servers(servers_folder, durable=False) as servers:
        yield servers


@pytest.fixture(scope="session")
async def databases(servers: Servers) -> Databases:
    databases = Databases(servers.postgres)
    await databases.prepare()
    return databases


@pytest.fixture
async def products_database_url(databases: Databases) -> AsyncIterator[str]:
    async with databases.fresh("products") as url:
        yield url


@pytest.fixture
async def orders_database_url(databases: Databases) -> AsyncIterator[str]:
    async with databases.fresh("orders") as url:
        yield url


@pytest.fixture
async def owner_url(databases: Databases) -> AsyncIterator[str]:
    """The URL of an empty database."""
    async with databases.empty() as url:
        yield url


@pytest.fixture(scope="session")
async def vhosts(servers: Servers) -> Vhosts:
    return Vhosts(servers.rabbitmq)


@pytest.fixture
async def vhost(vhosts: Vhosts) -> AsyncIterator[Vhost]:
    """A virtual host where nothing is declared yet."""
    async with vhosts.fresh() as vhost:
        yield vhost
