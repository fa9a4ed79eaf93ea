from tests.api import Api
from tests.integration.upstream import FakeService, respond_with


async def test_it_shows_whether_each_service_is_ready_and_needs_none(gateway: Api, orders: FakeService) -> None:
    both = await gateway.get("/health/ready")
    orders.respond = respond_with(503, b"{}")
    one = await gateway.get("/health/ready")

    assert both.data == {"status": "ready", "checks": {"products": "ok", "orders": "ok"}}
    assert one.data == {"status": "ready", "checks": {"products": "ok", "orders": "down"}}
    assert both.status == one.status == 200
