import asyncio
import time

import pytest
from prometheus_client import REGISTRY

from shared import metrics

FOLLOWED, OTHER = f"{1:031x}0", f"{1:032x}"


def test_a_request_is_counted_under_its_route_and_status() -> None:
    for seconds in (0.002, 0.2):
        metrics.observe_request("GET", "/counted/{id}", 200, seconds, OTHER)
    text = metrics.exposition().decode()
    labels = 'method="GET",route="/counted/{id}",status="200"'
    assert f"http_request_duration_seconds_count{{{labels}}} 2.0" in text
    assert f'http_request_duration_seconds_bucket{{le="0.0025",{labels}}} 1.0' in text


@pytest.mark.parametrize(
    ("seconds", "trace_id", "is_kept"), [(0.004, OTHER, False), (0.004, FOLLOWED, True), (0.2, OTHER, True)]
)
def test_a_slow_request_and_one_of_sixteen_others_leave_their_trace_in_the_bucket(
    seconds: float, trace_id: str, is_kept: bool
) -> None:
    route = f"/{seconds}/{trace_id}"
    metrics.observe_request("GET", route, 200, seconds, trace_id)

    text = metrics.exposition(open_metrics=True).decode()
    kept = [line for line in text.splitlines() if route in line and f'# {{trace_id="{trace_id}"}} {seconds}' in line]
    assert len(kept) == is_kept
    assert text.endswith("# EOF\n")
    assert "trace_id" not in metrics.exposition().decode()


async def test_a_loop_that_is_held_up_is_measured() -> None:
    before = lag()
    metrics.watch(asyncio.get_running_loop())
    time.sleep(0.3)  # noqa: ASYNC251  # that is the fault
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert lag() - before >= 0.2


def lag() -> float:
    return REGISTRY.get_sample_value("event_loop_lag_seconds_sum") or 0.0
