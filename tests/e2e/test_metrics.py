"""What the system shows of itself: bounded, and all that the dashboards and the alerts ask for."""

import asyncio
import math
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own

from tests.api import Api, port_of
from tests.databases import fetch
from tests.e2e.system import System
from tests.integration.shared.web.raw import connected
from tests.traces import traceparent
from tests.waiting import reaches
from tools import observe
from tools.documents import dashboards
from tools.stack import ports
from tools.stack.http import call
from tools.stack.jobs import together
from tools.stack.servers import Servers

# Ends with 0, as one trace in sixteen, and so its requests are exemplars.
TRACE = "0af7651916cd43dd8448eb211c803190"
# What is no metric: texts, what is in braces or brackets, numbers, functions, operators.
NO_METRIC = re.compile(r'"[^"]*"|\{[^}]*\}|\[\w+\]|\b[\d.]+\b|\b\w+(?= *\()|\bor\b')


@pytest.mark.timeout(180)
async def test_every_query_of_a_panel_and_an_alert_returns_something_under_load(
    api: Api, system: System, servers: Servers, tmp_path: Path
) -> None:
    queries = [*of_panels(), *of_rules()]
    async with observed(system, servers, tmp_path) as prometheus, load(api):

        async def empty() -> list[str]:
            answers = [await ask(prometheus, f"query?query={quote(query)}") for query in queries]
            values = [[float(each["value"][1]) for each in answer["result"]] for answer in answers]
            return [query for query, found in zip(queries, values, strict=True) if all(map(math.isnan, found))]

        await reaches(empty, [], within=90)
        exported = set(await ask(prometheus, "label/__name__/values"))
        found = {
            metric: await ask(prometheus, f"query_exemplars?query={metric}_bucket&start=0&end=9999999999")
            for metric in ("http_request_duration_seconds", "order_decision_seconds")
        }

    assert names(queries) - exported == set()
    traces = {
        metric: {
            (each["seriesLabels"]["job"], dot["labels"]["trace_id"]) for each in series for dot in each["exemplars"]
        }
        for metric, series in found.items()
    }
    assert {("gateway", TRACE), ("orders", TRACE)} <= traces["http_request_duration_seconds"]
    assert ("orders", TRACE) in traces["order_decision_seconds"]


@pytest.mark.timeout(180)
async def test_ten_thousand_paths_and_traces_make_no_more_series_than_two(system: System) -> None:
    async with connected(port_of(system.services["products"].url)) as peer:

        async def ask(numbers: Sequence[int]) -> None:
            for number in numbers:
                about = f"HTTP/1.1\r\nHost: here\r\ntraceparent: 00-{number:031x}0-{TRACE[:16]}-01\r\n\r\n"
                peer.send(f"GET /products/a{number} {about}GET /nothing/{number} {about}".encode())
            assert [(await peer.reply()).status for _ in (*numbers, *numbers)] == [400, 404] * len(numbers)

        async def series() -> list[str]:
            peer.send(b"GET /metrics HTTP/1.1\r\nHost: here\r\nAccept: application/openmetrics-text\r\n\r\n")
            lines = (await peer.reply()).raw.decode().splitlines()
            return [line.partition("} ")[0] for line in lines if line.startswith("http_request")]

        await ask([1])
        await series()  # which is a request too
        before = await series()
        for start in range(1, 5_000, 50):
            await ask(range(start, start + 50))
        after = await series()

    assert after == before
    assert {'route="/products/{id}",status="400"', 'route="(none)",status="404"'} <= {
        line.partition(",")[2] for line in after if line.startswith("http_request_duration_seconds_count")
    }


def of_panels() -> Iterator[str]:
    """The rates over half a minute."""
    for board in dashboards.BOARDS.values():
        for panel in board["panels"]:
            yield from (query.replace("$__rate_interval", "30s") for query in panel.get("queries", {}).values())


def of_rules() -> Iterator[str]:
    """What is recorded, and the queries that an alert compares with a number."""
    for path in (observe.CONFIGURATION / "rules").glob("*.yml"):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                parts = rule["expr"].split(" and ") if "alert" in rule else [rule["expr"]]
                yield from (re.sub(r" (?:>|<|==) [\d.]+$", "", part) for part in parts)


def names(queries: list[str]) -> set[str]:
    """The metrics that they name."""
    ungrouped = (re.sub(r"\bby \([^)]*\)", "", query) for query in queries)
    return {name for query in ungrouped for name in re.findall(r"[a-z_][\w:]+", NO_METRIC.sub(" ", query))}


@asynccontextmanager
async def observed(system: System, servers: Servers, folder: Path) -> AsyncIterator[str]:
    """The URL of a Prometheus that scrapes every second; PostgreSQL waits for a standby that is not there."""
    port = ports.choose_each(["prometheus", observe.NODE, observe.POSTGRESQL])
    urls = {name: service.url for name, service in system.services.items()}
    exporters = [
        observe.Exporter(name, folder, port[name], servers.postgres.admin_url)
        for name in (observe.NODE, observe.POSTGRESQL)
    ]
    prometheus = observe.Prometheus(folder, port["prometheus"], urls, exporters, seconds=1)
    await fetch(servers.postgres.admin_url, "SELECT pg_create_physical_replication_slot('standby', true)")
    try:
        await together(*(server.start() for server in (*exporters, prometheus)))
        yield prometheus.url
    finally:
        await together(*(server.stop() for server in (prometheus, *exporters)))
        await fetch(servers.postgres.admin_url, "SELECT pg_drop_replication_slot('standby')")


@asynccontextmanager
async def load(api: Api) -> AsyncIterator[None]:
    """A few requests at a time, of all kinds."""

    async def run() -> None:
        while True:
            made = await api.post("/products", {"name": "Lamp", "price": "1.00", "qty": 3})
            if made.status != HTTPStatus.CREATED:  # the machine has other work
                continue
            order = {"productId": made.data["id"], "quantity": 1}
            traced = {"traceparent": traceparent(TRACE)}
            placed = [api.post("/orders", order, headers=traced) for _ in range(5)]
            await asyncio.gather(*placed, api.post("/orders", {**order, "holdSeconds": 1}))
            await api.post(f"/products/{made.data['id']}/stock", {"delta": 1})
            await api.get(f"/orders/product/{made.data['id']}")

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()


async def ask(prometheus: str, path: str) -> Any:
    return (await call("GET", f"{prometheus}/api/v1/{path}")).body["data"]
