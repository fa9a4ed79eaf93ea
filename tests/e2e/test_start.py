import json
import signal
import socket
from collections.abc import Iterator

import pytest

from ops.migrate import MIGRATIONS
from tests.api import connect
from tests.e2e.programs import program, run
from tests.waiting import eventually
from tools.stack import ports

SERVERS = ("DATABASE_URL", "REDIS_URL", "AMQP_URL")
NEEDED = {
    "products": SERVERS,
    "orders": (*SERVERS, "PRODUCTS_URL"),
    "gateway": ("PRODUCTS_URL", "ORDERS_URL"),
}
# Nobody listens there.
DEAD = {
    "DATABASE_URL": "postgresql://user:secret@127.0.0.1:9/orders",
    "REDIS_URL": "redis://:secret@127.0.0.1:9/0",
    "AMQP_URL": "amqp://user:secret@127.0.0.1:9/",
    "PRODUCTS_URL": "http://127.0.0.1:9",
    "ORDERS_URL": "http://127.0.0.1:9",
}
# Counters that are there before there is anything to count, so that the first one is seen as a change.
OF_EVENTS = 'events_total{{outcome="{}",queue="{}"}} 0.0'
COUNTED = {
    "products": {OF_EVENTS.format(outcome, "products.orders") for outcome in ("applied", "buried", "parked")},
    "orders": {OF_EVENTS.format("parked", "orders.stock"), 'cache_reads_total{outcome="unreadable"} 0.0'},
    "gateway": {'gateway_refused_total{reason="overload"} 0.0', 'gateway_retries_total{upstream="orders"} 0.0'},
}


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("name", NEEDED)
async def test_all_wrong_settings_are_named_at_once_without_their_values(name: str) -> None:
    wrong = dict.fromkeys(NEEDED[name], "secret://user:secret@")

    ended = await run(name, environment={**wrong, "PORT": "65536", "PROCESSES": "0", "LOG_LEVEL": "loud"})

    first, *problems = ended.stderr.splitlines()
    assert (ended.status, first) == (2, f"{name}: the settings are wrong")
    assert sorted(problem.split()[0] for problem in problems) == sorted(
        [*NEEDED[name], "PORT", "PROCESSES", "LOG_LEVEL"]
    )
    assert "secret" not in ended.stderr


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize("name", NEEDED)
async def test_a_port_in_use_is_one_clear_line(name: str, processes: str, taken_port: int) -> None:
    ended = await run(name, environment={**DEAD, "PORT": str(taken_port), "PROCESSES": processes})

    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    [line] = [line for line in lines if line["level"] == "critical"]
    assert (ended.status, ended.stderr) == (1, "")
    assert (line["event"], line["port"], line["error"]) == ("cannot listen", taken_port, "Address already in use")


@pytest.mark.parametrize("name", NEEDED)
async def test_a_process_whose_background_task_ends_ends_in_order_with_status_1(name: str) -> None:
    """So that Compose or Kubernetes starts it again."""
    ended = await run("tests.e2e.ending", name, environment={**DEAD, "PORT": "0"})

    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    events = [line["event"] for line in lines if line["event"] in ("background task ended", "stopping", "stopped")]
    assert (ended.status, ended.stderr) == (1, "")
    assert events == ["background task ended", "stopping", "stopped"]


@pytest.mark.parametrize("name", NEEDED)
async def test_a_service_starts_without_its_servers_and_says_what_is_down(name: str) -> None:
    port = ports.choose()
    admin_port = ports.choose(taken=(port,))
    environment = {**DEAD, "PORT": str(port), "ADMIN_PORT": str(admin_port)}
    async with program(name, environment=environment) as process:
        await eventually(lambda: ports.listens(admin_port), within=20)
        async with connect(f"http://127.0.0.1:{port}") as api:
            live, ready = await api.get("/health/live"), await api.get("/health/ready")
        async with connect(f"http://127.0.0.1:{admin_port}") as admin:
            own = [await admin.get(path) for path in ("/health/live", "/health/ready", "/metrics", "/orders")]
        process.send_signal(signal.SIGTERM)
        ended = await process.outcome()

    down = {name for name, outcome in ready.data["checks"].items() if outcome == "down"}
    assert (live.status, ready.status) == (200, 200 if name == "gateway" else 503)
    assert [answer.status for answer in own] == [200, ready.status, 200, 404]
    assert own[1].data == ready.data
    assert COUNTED[name] <= set(own[2].raw.decode().splitlines())
    assert down == ({"products", "orders"} if name == "gateway" else {"database", "schema", "broker", "cache"})
    assert (ended.status, ended.stderr) == (0, "")
    assert "secret" not in ended.stdout


@pytest.mark.parametrize("service", ["products", "orders"])
async def test_migrations_apply_once_and_say_what_they_did(owner_url: str, service: str) -> None:
    urls = {"DATABASE_OWNER_URL": owner_url, "DATABASE_URL": owner_url.replace("owner", "cli_service", 1)}

    first, second = [await run("ops", "migrate", service, environment=urls) for _ in range(2)]

    assert (first.status, second.status) == (0, 0)
    files = ", ".join(sorted(path.name for path in (MIGRATIONS / service).iterdir()))
    assert first.stdout == f"migrate {service}: {files}\n"
    assert second.stdout == f"migrate {service}: nothing to do\n"
