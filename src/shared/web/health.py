"""Whether the process lives, and whether it should be sent requests."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context

from aiohttp import web

from shared.metrics import METRICS
from shared.tasks import BackgroundTasks
from shared.web.responses import answer

Check = Callable[[], Awaitable[bool]]
Report = tuple[bool, Mapping[str, object]]

_LIMIT = 1.0


class Health:
    """Ready = not draining, every background task alive, every required check passed.

    The other checks are shown, but what they stand for may be down while the process serves (DESIGN: a cache
    that is down makes answers slower, a broker that is down leaves orders pending).
    """

    def __init__(self, tasks: BackgroundTasks) -> None:
        self.draining = False
        self._tasks = tasks
        self._checks: dict[str, tuple[Check, bool]] = {}
        self._under_way: asyncio.Task[Report] | None = None

    def add(self, name: str, check: Check, *, required: bool) -> None:
        self._checks[name] = (check, required)

    async def report(self) -> Report:
        """Shared by all who ask meanwhile, however many: anybody may ask, and each part is asked once."""
        if self._under_way is None:
            # An empty context: it belongs to no single request.
            self._under_way = asyncio.create_task(self._ask(), name="readiness", context=Context())
            self._under_way.add_done_callback(self._reported)
        return await asyncio.shield(self._under_way)

    def _reported(self, task: asyncio.Task[Report]) -> None:
        self._under_way = None
        if not task.cancelled():
            task.exception()  # told to those who asked, if they are still there

    async def _ask(self) -> Report:
        passed = await asyncio.gather(*(_passes(check) for check, _ in self._checks.values()))
        checks = dict(zip(self._checks, passed, strict=True))
        required = all(checks[name] for name, (_, needed) in self._checks.items() if needed)
        ready = required and not self.draining and not self._tasks.failed
        report: dict[str, object] = {
            "status": "ready" if ready else "draining" if self.draining else "not_ready",
            "checks": {name: "ok" if ok else "down" for name, ok in checks.items()},
        }
        if self._tasks.failed:
            report["failedTasks"] = sorted(self._tasks.failed)
        return ready, report


async def _passes(check: Check) -> bool:
    try:
        async with asyncio.timeout(_LIMIT):
            return await check()
    except Exception:  # noqa: BLE001  # whatever the reason, the part does not answer
        return False


HEALTH = web.AppKey("health", Health)
# Of a request: whether its client may know of the parts.
DETAILED = web.RequestKey("detailed", bool)


async def live(request: web.Request) -> web.Response:
    return answer(request, {"status": "live"})


async def ready(request: web.Request) -> web.Response:
    is_ready, report = await request.app[HEALTH].report()
    shown = report if request.get(DETAILED, True) else {"status": report["status"]}
    return answer(request, shown, status=200 if is_ready else 503)


async def metrics(_request: web.Request) -> web.Response:
    return web.Response(body=METRICS.exposition(), content_type="text/plain", charset="utf-8")


ROUTES = (
    web.get("/health/live", live),
    web.get("/health/ready", ready),
    web.get("/metrics", metrics),
)
