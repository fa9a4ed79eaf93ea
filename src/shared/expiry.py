"""Forgets what has been kept long enough, a few rows at a time."""

from shared.db import Database

PURGE_SECONDS = 600.0
# Rows in one statement, so that nobody waits long for their locks.
_AT_ONCE = 500


async def purge(database: Database, statement: str) -> None:
    """Runs `statement`, which forgets at most $1 rows that are old enough, until it finds no more."""
    forgotten = _AT_ONCE
    while forgotten == _AT_ONCE:
        async with database.connection() as connection:
            status = await connection.execute(statement, _AT_ONCE)
        forgotten = int(status.split()[-1])  # "UPDATE 500"
