"""Work done side by side."""

import asyncio
from collections.abc import Coroutine

from tools.stack.errors import StackError


async def together(*work: Coroutine[object, object, None]) -> None:
    """Waits for all of it; the first failure cancels the rest, and a StackError comes out bare."""
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in work:
                group.create_task(coroutine)
    except ExceptionGroup as failures:
        expected, unexpected = failures.split(StackError)
        if expected is None or unexpected is not None:
            raise
        raise expected.exceptions[0] from None
