from tests.api import Api
from tests.databases import fetch
from tests.integration import bad_input

WRITTEN = "SELECT 1 FROM {} UNION ALL SELECT 1 FROM outbox"


async def test_a_wrong_request_is_refused_and_nothing_is_written(
    products_api: Api, orders_api: Api, products_database_url: str, orders_database_url: str
) -> None:
    assert await bad_input.refusals(products_api, bad_input.PRODUCTS) == bad_input.expected(bad_input.PRODUCTS)
    assert await bad_input.refusals(orders_api, bad_input.ORDERS) == bad_input.expected(bad_input.ORDERS)
    assert await fetch(products_database_url, WRITTEN.format("products")) == []
    assert await fetch(orders_database_url, WRITTEN.format("orders")) == []
