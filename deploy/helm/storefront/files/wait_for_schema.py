"""python -c … SERVICE: ends when every migration that this release of the service needs is applied."""

import asyncio
import os
import sys
from importlib import import_module

from shared.db import Database, open_database
from shared.errors import AppError


async def main(service: str) -> None:
    version = import_module(f"{service}.repository").SCHEMA
    async with open_database(os.environ["DATABASE_URL"], f"{service}-schema") as database:
        while problem := await what_lacks(database, version):
            sys.stderr.write(f"waits for the schema of {service}: {problem}\n")
            await asyncio.sleep(1)


async def what_lacks(database: Database, version: int) -> str:
    try:
        await database.has_schema(version)
    except AppError as error:
        return error.message
    return ""


asyncio.run(main(sys.argv[1]))
