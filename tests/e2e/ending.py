"""`python -m tests.e2e.ending NAME`: a service with a background task that ends, as none should."""

import asyncio
import importlib
import sys
from collections.abc import AsyncIterator

from aiohttp import web

from shared.web.server import TASKS, run


async def task_that_ends(app: web.Application) -> AsyncIterator[None]:
    app[TASKS].start("forgotten", asyncio.sleep(0.1))
    yield


if __name__ == "__main__":
    name = sys.argv[1]
    app, settings = (importlib.import_module(f"{name}.{module}") for module in ("app", "settings"))

    def create_app(given: object) -> web.Application:
        created: web.Application = app.create_app(given)
        created.cleanup_ctx.append(task_that_ends)
        return created

    sys.exit(run(name, settings.Settings.load, create_app))
