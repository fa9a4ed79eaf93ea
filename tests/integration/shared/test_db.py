import asyncio
import time
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from shared.db import Database
from shared.errors import AppError, Code
from tests.databases import fetch
from tests.integration.outages import hung, stopped
from tests.waiting import eventually
from tools.stack.servers import Servers

_WRITE = "INSERT INTO outbox (type, payload) VALUES ('test', '{}')"
_IDLE = "datname = current_database() AND pid <> pg_backend_pid()"
_COUNT = "SELECT count(*) FROM outbox"


async def count(database: Database) -> int:
    async with database.connection() as connection:
        return int(await connection.fetchval(_COUNT))


async def refusal(work: Callable[[], Awaitable[object]]) -> tuple[Code, int | None]:
    """The code and the Retry-After of the error that `work` ends with, within 2 s."""
    started = time.monotonic()
    with pytest.raises(AppError) as refused:
        await work()
    assert time.monotonic() - started < 2
    return refused.value.code, refused.value.retry_after


async def test_a_transaction_is_committed_at_its_end(products_database: Database) -> None:
    async with products_database.transaction() as connection:
        await connection.execute(_WRITE)

    assert await count(products_database) == 1


async def test_any_exception_rolls_a_transaction_back(products_database: Database) -> None:
    async def fail() -> None:
        async with products_database.transaction() as connection:
            await connection.execute(_WRITE)
            raise LookupError

    with pytest.raises(LookupError):
        await fail()

    assert await count(products_database) == 0


async def test_a_transaction_cancelled_at_any_step_leaves_its_connection_clean(
    products_database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async def write() -> None:
        async with products_database.transaction() as connection:
            await connection.execute("SELECT 1")

    await write()  # so that each of the next takes a connection that is there
    for steps in range(40):
        writing = asyncio.create_task(write())
        for _ in range(steps):
            await asyncio.sleep(0)
        writing.cancel()
        await asyncio.wait({writing})

    assert [record.message for record in caplog.records] == []


async def test_a_statement_at_fault_is_no_outage(products_database: Database) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        async with products_database.connection() as connection:
            await connection.execute("INSERT INTO products (name, price, qty) VALUES ('lamp', 1, -1)")


async def test_a_stopped_server_is_unavailable_within_two_seconds(
    servers: Servers, products_database: Database
) -> None:
    await count(products_database)  # so that the pool holds a connection that breaks

    async with stopped(servers.postgres):
        first, second = await refusal(products_database.is_up), await refusal(products_database.is_up)

    assert first == second == (Code.UNAVAILABLE, 1)


async def test_a_hung_server_is_unavailable_within_two_seconds(servers: Servers, products_database: Database) -> None:
    await count(products_database)

    async with hung(servers.postgres):
        with_connection, with_new_one = await asyncio.gather(
            refusal(products_database.is_up), refusal(products_database.is_up)
        )

    assert with_connection == with_new_one == (Code.UNAVAILABLE, 1)


async def test_it_recovers_by_itself(servers: Servers, products_database: Database) -> None:
    await count(products_database)
    async with stopped(servers.postgres):
        await refusal(products_database.is_up)
    async with hung(servers.postgres):
        await refusal(products_database.is_up)

    async def is_up() -> bool:
        try:
            return await products_database.is_up()
        except AppError:
            return False

    await eventually(is_up, within=2)


async def test_a_slow_statement_is_unavailable_and_its_connection_is_not_reused_broken(
    products_database: Database,
) -> None:
    async def sleep() -> None:
        async with products_database.connection(limit=0.2) as connection:
            await connection.execute("SELECT pg_sleep(30)")

    assert await refusal(sleep) == (Code.UNAVAILABLE, 1)
    assert await count(products_database) == 0


async def test_a_connection_killed_in_a_transaction_is_an_outage(products_database: Database) -> None:
    async def end_itself() -> None:
        async with products_database.transaction() as connection:
            await connection.execute(_WRITE)
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    assert await refusal(end_itself) == (Code.UNAVAILABLE, 1)
    assert await count(products_database) == 0


async def test_idle_connections_that_the_server_ends_are_replaced_or_an_outage(
    products_database: Database, products_database_url: str
) -> None:
    """Whatever state the end finds the client's protocol in."""
    codes: set[object] = set()
    for _ in range(30):
        await fetch(products_database_url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE " + _IDLE)
        for _ in range(3):
            try:
                await products_database.is_up()
            except AppError as error:
                codes.add(error.code)

    assert codes <= {Code.UNAVAILABLE}


async def test_the_wait_for_a_free_connection_has_a_limit(products_database: Database) -> None:
    taken = asyncio.Semaphore(0)
    release = asyncio.Event()

    async def hold() -> None:
        async with products_database.connection(limit=10):
            taken.release()
            await release.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(hold())
        for _ in range(8):
            await taken.acquire()

        refused = await refusal(products_database.is_up)
        release.set()

    assert refused == (Code.UNAVAILABLE, 1)
