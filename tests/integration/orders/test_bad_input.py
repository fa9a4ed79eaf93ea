from tests.api import Api
from tests.databases import fetch
from tests.integration import bad_input


async def test_a_wrong_request_is_refused_and_nothing_is_written(orders_api: Api, orders_database_url: str) -> None:
    assert await bad_input.refusals(orders_api, bad_input.ORDERS) == bad_input.expected(bad_input.ORDERS)
    assert await fetch(orders_database_url, "SELECT 1 FROM orders UNION ALL SELECT 1 FROM outbox") == []
