"""Reports whether the process is alive, and whether it should receive requests."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context

from aiohttp import web

from shared import metrics
from shared.tasks import BackgroundTasks
from shared.web.responses import answer

Check = Callable[[], Awaitable[bool]]
Report = tuple[bool, Mapping[str, object]]

_LIMIT = 1.0


class Health:
    """Ready = not draining, every background task alive, every required check passed.

    The other checks are only shown: without its cache a process answers more slowly, without the broker orders stay
    pending.
    """

    def __init__(self, tasks: BackgroundTasks) -> None:
        self.draining = False
        self._tasks = tasks
        self._checks: dict[str, tuple[Check, bool]] = {}
        self._under_way: asyncio.Task[Report] | None = None

    def add(self, name: str, check: Check, *, required: bool) -> None:
        self._checks[name] = (check, required)

    async def report(self) -> Report:
        """All callers that ask at the same time share one report: any client may ask, and each part is asked once."""
        if self._under_way is None or self._under_way.done():
            # The empty context keeps the report out of the trace of any single request.
            self._under_way = asyncio.create_task(self._ask(), name="readiness", context=Context())
        return await asyncio.shield(self._under_way)

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
    except Exception:  # noqa: BLE001  # for whatever reason, the part does not answer
        return False


HEALTH = web.AppKey("health", Health)
# Whether the client of a request may see the checks.
DETAILED = web.RequestKey("detailed", bool)


async def live(request: web.Request) -> web.Response:
    return answer(request, {"status": "live"})


async def ready(request: web.Request) -> web.Response:
    is_ready, report = await request.app[HEALTH].report()
    shown = report if request.get(DETAILED, True) else {"status": report["status"]}
    return answer(request, shown, status=200 if is_ready else 503)


async def show_metrics(_request: web.Request) -> web.Response:
    return web.Response(body=metrics.exposition(), content_type="text/plain", charset="utf-8")


ROUTES = (
    web.get("/health/live", live),
    web.get("/health/ready", ready),
    web.get("/metrics", show_metrics),
)
