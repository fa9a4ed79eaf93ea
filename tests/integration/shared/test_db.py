import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from shared.db import Connection, Database, open_database
from shared.errors import AppError, Code
from tests.databases import fetch
from tests.integration.outages import hung, stopped
from tests.waiting import eventually
from tools.stack.servers import Servers

_WRITE = "INSERT INTO outbox (type, payload) VALUES ('test', '{}')"
_END_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
OUTAGE = (Code.UNAVAILABLE, 1)


async def count(database: Database) -> int:
    async with database.connection() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM outbox"))


async def refusal(work: Callable[[], Awaitable[object]]) -> tuple[Code, int | None]:
    """The code and the Retry-After of the error that `work` ends with, after 2 s at most on a quiet machine."""
    with pytest.raises(AppError) as refused:
        async with asyncio.timeout(4):
            await work()
    return refused.value.code, refused.value.retry_after


async def is_up(database: Database) -> bool:
    try:
        return await database.is_up()
    except AppError:
        return False


async def test_a_transaction_is_committed_or_rolled_back_by_any_exception(products_database: Database) -> None:
    async def write(error: type[Exception] | None) -> None:
        async with products_database.transaction() as connection:
            await connection.execute(_WRITE)
            if error:
                raise error

    with pytest.raises(LookupError):
        await write(LookupError)
    assert await count(products_database) == 0
    await write(None)
    assert await count(products_database) == 1


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


# One error of each SQLSTATE class: https://www.postgresql.org/docs/current/errcodes-appendix.html
OF_DATA = ("22003", "23514")
OF_THE_SERVER = (
    *("08006", "0A000", "21000", "25006", "26000", "28P01", "2B000", "34000", "38000", "39000", "3D000", "40001"),
    *("42501", "42P01", "44000", "53100", "54000", "55000", "55P03", "57014", "58030", "72000", "F0000", "P0001"),
    *("XX000", "ZZ123"),
)


def raising(state: str) -> str:
    return f"DO $$ BEGIN RAISE EXCEPTION 'of class {state[:2]}' USING ERRCODE = '{state}'; END $$"


@pytest.mark.parametrize("state", OF_DATA)
async def test_an_error_of_data_blames_its_statement(products_database: Database, state: str) -> None:
    with pytest.raises((asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)):
        async with products_database.connection() as connection:
            await connection.execute(raising(state))


async def test_every_other_error_is_an_outage_known_or_not(products_database: Database) -> None:
    async def fail(state: str) -> None:
        async with products_database.transaction() as connection:
            await connection.execute(raising(state))

    for state in OF_THE_SERVER:
        assert (state, await refusal(partial(fail, state))) == (state, OUTAGE)
        assert await count(products_database) == 0  # the connection goes on working


@pytest.mark.parametrize("state", ["08006", "40003", "40001", "57014", "23514"])
async def test_a_write_is_repeated_in_a_transaction_if_nobody_says_that_it_failed(
    products_database: Database, state: str
) -> None:
    """A pooler may answer with class 08, and a cluster with 40003, that it does not know either, and for a while."""
    meanwhile = iter(["57P03", "40003"])

    async def first(connection: Connection) -> str:
        return str(await connection.execute(raising(state)))

    async def again(connection: Connection) -> str:
        for failure in meanwhile:
            await connection.execute(raising(failure))
        await connection.execute(_WRITE)
        return "repeated"

    try:
        outcome: object = await products_database.write(again, first=first)
    except (AppError, asyncpg.PostgresError) as error:
        outcome = error.code if isinstance(error, AppError) else error.sqlstate

    expected = {"08006": "repeated", "40003": "repeated", "23514": "23514"}.get(state, Code.UNAVAILABLE)
    assert (outcome, await count(products_database)) == (expected, int(expected == "repeated"))


async def test_a_transaction_that_is_lost_before_its_commit_was_sent_is_not_repeated(
    products_database: Database,
) -> None:
    attempts = []

    async def work(connection: Connection) -> None:
        attempts.append(await connection.execute(_WRITE))
        await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    assert await refusal(lambda: products_database.write(work)) == OUTAGE
    assert (len(attempts), await count(products_database)) == (1, 0)


@pytest.mark.parametrize("outage", [stopped, hung])
async def test_a_server_that_is_down_is_unavailable_and_used_again_when_it_is_back(
    servers: Servers, products_database: Database, outage: Callable[[Any], Any]
) -> None:
    await count(products_database)  # so that the pool holds a connection that breaks

    async with outage(servers.postgres):
        with_connection, with_new_one = await asyncio.gather(
            refusal(products_database.is_up), refusal(products_database.is_up)
        )

    assert with_connection == with_new_one == OUTAGE
    await eventually(lambda: is_up(products_database))


@pytest.mark.parametrize("statement", ["SELECT pg_sleep(30)", "SELECT pg_terminate_backend(pg_backend_pid())"])
async def test_a_transaction_that_ends_badly_is_rolled_back(products_database: Database, statement: str) -> None:
    async def end_badly() -> None:
        async with products_database.transaction(limit=0.5) as connection:
            await connection.execute(_WRITE)
            await connection.execute(statement)

    assert await refusal(end_badly) == OUTAGE
    assert await count(products_database) == 0


async def test_idle_connections_that_the_server_ends_are_replaced_or_an_outage(
    products_database: Database, products_database_url: str
) -> None:
    """Whatever state the end finds the client's protocol in."""
    codes: set[object] = set()
    for _ in range(20):
        await fetch(products_database_url, _END_OTHERS)
        for _ in range(3):
            try:
                await products_database.is_up()
            except AppError as error:
                codes.add(error.code)

    assert codes <= {Code.UNAVAILABLE}
    await eventually(lambda: is_up(products_database))


async def test_the_wait_for_a_free_connection_has_a_limit(products_database: Database) -> None:
    taken = asyncio.Semaphore(0)
    release = asyncio.Event()

    async def hold() -> None:
        async with products_database.connection(limit=30):
            taken.release()
            await release.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(hold())
        for _ in range(8):
            await taken.acquire()

        with pytest.raises(AppError, match="All connections to the database are taken") as refused:
            await products_database.is_up()
        release.set()

    assert (refused.value.code, refused.value.retry_after) == OUTAGE


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"netloc": "products:wrong@{host}"}, "InvalidPasswordError('password authentication failed for user"),
        ({"netloc": "products:test@127.0.0.1:9"}, "ConnectionRefusedError(111"),
        ({"path": "/nothing"}, 'InvalidCatalogNameError(\'database "nothing" does not exist'),
    ],
)
async def test_why_there_is_no_connection_can_be_told(
    products_database_url: str, change: dict[str, str], cause: str
) -> None:
    parts = urlsplit(products_database_url)
    changed = {name: value.format(host=parts.netloc.rpartition("@")[2]) for name, value in change.items()}
    async with open_database(parts._replace(**changed).geturl(), "test") as database:
        with pytest.raises(AppError, match="The database cannot be reached") as refused:
            await database.is_up()
    assert cause in repr(refused.value)
