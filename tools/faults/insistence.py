"""What must be done to a part, whatever else happens to it meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable

from tools.stack.errors import StackError

# A session that a frozen service has left in a transaction holds its locks for 30 s, and RabbitMQ may start for 20.
SECONDS = 60.0
PAUSE_SECONDS = 0.1


async def insist(what: str, attempt: Callable[[], Awaitable[None]], *passing: type[Exception]) -> None:
    """Repeats the attempt as long as it fails with one of `passing`; StackError after a minute."""
    last: Exception | None = None
    try:
        async with asyncio.timeout(SECONDS):
            while True:
                try:
                    return await attempt()
                except passing as error:
                    last = error
                await asyncio.sleep(PAUSE_SECONDS)
    except TimeoutError:
        raise StackError(f"{what}: not possible within {SECONDS:g} s, at last: {last!r}") from last
