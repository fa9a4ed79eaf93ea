"""Background tasks that are named, and end their process when they end unasked; and their backoff."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, NoReturn, Self

import structlog

from shared.errors import AppError

log = structlog.get_logger()

_STOP = 3.0


class BackgroundTasks:
    """Owns tasks that run until the context ends; one that ends earlier is in `failed`, and sets `stop`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopping = False
        self.stop = asyncio.Event()
        self.failed: set[str] = set()

    def start(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cancels the tasks and waits at most 3 s for them."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_STOP)

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if self._stopping:
            return
        self.failed.add(task.get_name())
        self.stop.set()
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        log.error("background task ended", task=task.get_name(), exc_info=error)


async def repeat(name: str, seconds: float, work: Callable[[], Awaitable[object]]) -> NoReturn:
    """Does `work` now and again `seconds` after each end; a failure is logged, and the next run may succeed."""
    while True:
        try:
            await work()
        except AppError as error:
            log.warning("repeated work failed", work=name, error=repr(error))
        except Exception:
            log.exception("repeated work failed", work=name)
        await asyncio.sleep(seconds)


def backoff(
    first: float = 0.1, most: float = 5.0, *, draw: Callable[[float, float], float] = random.uniform
) -> Iterator[float]:
    """Draws the seconds before each next try, between `first / 2` and a ceiling that doubles up to `most`."""
    ceiling = first
    while True:
        yield draw(first / 2, ceiling)
        ceiling = min(most, 2 * ceiling)
