from tests.api import Api
from tests.databases import fetch
from tests.integration import bad_input


async def test_a_wrong_request_is_refused_and_nothing_is_written(
    products_api: Api, products_database_url: str
) -> None:
    assert await bad_input.refusals(products_api, bad_input.PRODUCTS) == bad_input.expected(bad_input.PRODUCTS)
    assert await fetch(products_database_url, "SELECT 1 FROM products UNION ALL SELECT 1 FROM outbox") == []
