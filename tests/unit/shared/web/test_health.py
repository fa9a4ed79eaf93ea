import asyncio

import pytest

from shared.web.health import Check, Health
from tests.waiting import eventually


async def passes() -> bool:
    return True


async def fails() -> bool:
    return False


async def hangs() -> bool:
    return await asyncio.Event().wait()


async def crashes() -> bool:
    raise LookupError


async def test_a_draining_process_is_not_ready() -> None:
    health = Health()
    health.draining = True

    assert await health.report() == (False, {"status": "draining", "checks": {}})


@pytest.mark.parametrize("check", [fails, hangs, crashes])
@pytest.mark.parametrize("required", [True, False])
async def test_a_check_that_does_not_pass_is_shown_and_a_required_one_counts(
    check: Check, required: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.web.health._LIMIT", 0.05)
    health = Health()
    health.add("this", check, required=required)
    health.add("that", passes, required=True)

    status = "not_ready" if required else "ready"
    assert await health.report() == (not required, {"status": status, "checks": {"this": "down", "that": "ok"}})


async def test_callers_that_ask_at_once_share_one_report_even_if_one_of_them_leaves() -> None:
    health, go, asked = Health(), asyncio.Event(), list[str]()

    async def check() -> bool:
        asked.append("database")
        return await go.wait()

    health.add("database", check, required=True)
    asking = [asyncio.create_task(health.report()) for _ in range(20)]
    await eventually(lambda: asked)
    asking[0].cancel()
    await asyncio.wait(asking[:1])
    go.set()
    reports = await asyncio.gather(*asking[1:])
    once = len(asked)
    later = await health.report()

    assert asking[0].cancelled()
    assert reports == [(True, {"status": "ready", "checks": {"database": "ok"}})] * 19
    assert (once, len(asked), later) == (1, 2, reports[0])
