"""Reports whether the process is alive, and whether it should receive requests."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context

import structlog
from aiohttp import web

from shared import metrics
from shared.web.responses import answer

log = structlog.get_logger()

Check = Callable[[], Awaitable[bool]]
Report = tuple[bool, Mapping[str, object]]

_LIMIT = 1.0


class Health:
    """Ready = not draining, every required check passed.

    The other checks are only shown: without its cache a process answers more slowly, without the broker or while a
    consumer holds a batch orders stay pending, but requests are answered.
    """

    def __init__(self) -> None:
        self.draining = False
        self._checks: dict[str, tuple[Check, bool]] = {}
        self._problems: dict[str, str] = {}
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
        found = await asyncio.gather(*(_problem(check) for check, _ in self._checks.values()))
        problems = {name: problem for name, problem in zip(self._checks, found, strict=True) if problem}
        self._log_changes(problems)
        ready = not (self.draining or any(self._checks[name][1] for name in problems))
        report: dict[str, object] = {
            "status": "ready" if ready else "draining" if self.draining else "not_ready",
            "checks": {name: "down" if name in problems else "ok" for name in self._checks},
        }
        return ready, report

    def _log_changes(self, problems: dict[str, str]) -> None:
        for name in problems.keys() - self._problems.keys():
            log.warning("check failed", check=name, error=problems[name])
        for name in self._problems.keys() - problems.keys():
            log.info("check passed again", check=name)
        self._problems = problems


async def _problem(check: Check) -> str:
    """Empty if the check passes."""
    try:
        async with asyncio.timeout(_LIMIT):
            return "" if await check() else "it is down"
    except Exception as error:  # noqa: BLE001  # for whatever reason, the part does not answer
        return repr(error)


HEALTH = web.AppKey("health", Health)
# Whether the client of a request may see the checks.
DETAILED = web.RequestKey("detailed", bool)


async def live(request: web.Request) -> web.Response:
    return answer(request, {"status": "live"})


async def ready(request: web.Request) -> web.Response:
    is_ready, report = await request.app[HEALTH].report()
    shown = report if request.get(DETAILED, True) else {"status": report["status"]}
    return answer(request, shown, status=200 if is_ready else 503)


async def show_metrics(request: web.Request) -> web.Response:
    if metrics.OPEN_METRICS in request.headers.get("Accept", ""):
        headers = {"Content-Type": metrics.OPEN_METRICS_TYPE}
        return web.Response(body=metrics.exposition(open_metrics=True), headers=headers)
    return web.Response(body=metrics.exposition(), content_type="text/plain", charset="utf-8")


ROUTES = (
    web.get("/health/live", live),
    web.get("/health/ready", ready),
    web.get("/metrics", show_metrics),
)
