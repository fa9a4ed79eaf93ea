import secrets
from datetime import datetime

from tests.api import Api
from tests.e2e.system import System
from tests.traces import traceparent
from tests.waiting import reaches

LAMP = {"name": "Desk lamp", "price": "19.90", "qty": 10}


async def test_an_order_is_done_and_its_trace_is_found_in_all_three_logs(api: Api, system: System) -> None:
    product = (await api.post("/products", LAMP)).data
    trace_id = secrets.token_hex(16)
    headers = {"traceparent": traceparent(trace_id), "X-Request-ID": f"request-{trace_id}"}

    placed = await api.post("/orders", {"productId": product["id"], "quantity": 3}, headers=headers)
    order = await api.data(f"/orders/{placed.data['id']}?wait=10")

    assert (placed.status, placed.data["status"]) == (201, "pending")
    assert (order["status"], order["unitPrice"], order["totalPrice"]) == ("done", "19.90", "59.70")
    assert (await api.get(f"/products/{product['id']}")).data["qty"] == 7
    assert (await api.get(f"/orders/product/{product['id']}")).data == [order]

    def handled_a_batch() -> list[str]:
        lines = ((name, line["event"]) for name in system.services for line in system.lines_of_trace(name, trace_id))
        return sorted(name for name, event in lines if event == "batch handled")

    # Products publishes its answer before it acknowledges and logs, so either service may log first.
    await reaches(handled_a_batch, ["orders", "products"])
    lines = {name: list(system.lines_of_trace(name, trace_id)) for name in system.services}
    story = sorted(
        (datetime.fromisoformat(line["timestamp"]), name, line["event"])
        for name, of_service in lines.items()
        for line in of_service
    )
    assert placed.body["traceId"] == placed.data["traceId"] == order["traceId"] == trace_id
    assert {line["request_id"] for line in lines["gateway"]} == {f"request-{trace_id}"}
    assert [name for _, name, event in story if event == "request"][-2:] == ["orders", "gateway"]
    assert {line["service"] for of_service in lines.values() for line in of_service} == set(system.services)
