"""Several hosts of one server, of which the first that answers is taken."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

Result = TypeVar("Result")


async def first_of(
    hosts: Sequence[str],
    connect: Callable[[str], Awaitable[Result]],
    limit: float,
    failures: tuple[type[Exception], ...],
) -> Result:
    """Gives each its share of `limit` seconds: a silent one hides no other. The last one's error tells of all."""
    errors: list[Exception] = []
    for host in hosts:
        try:
            async with asyncio.timeout(limit / len(hosts)):
                return await connect(host)
        except failures as error:
            errors.append(error)
        if (task := asyncio.current_task()) and task.cancelling():
            raise asyncio.CancelledError  # aiormq swallows it where it cleans up after a failed connect
    if len(errors) > 1:
        errors[-1].args = ("; ".join(map(repr, errors)),)
    raise errors[-1]
