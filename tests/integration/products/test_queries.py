import pytest

from products import repository
from shared.pagination import MAX_ID
from tests.databases import PASSWORD, fetch
from tests.integration.plans import plans
from tools.stack.servers import Servers

FIRST_PAGE, LATER_PAGE = MAX_ID, 15_000


@pytest.fixture
async def twenty_thousand(servers: Servers, products_database_url: str) -> str:
    """Products, each with a movement, and as many again of product 1; the URL of the service's role."""
    owner_url = servers.postgres.database_url("products_owner", PASSWORD, products_database_url.rpartition("/")[2])
    for statement in (
        "INSERT INTO products (name, price, qty) SELECT 'Lamp', 1, 1 FROM generate_series(1, 20000)",
        """
        INSERT INTO stock_movements (product_id, kind, delta)
        SELECT CASE WHEN n > 20000 THEN 1 ELSE n END, 'adjustment', 1 FROM generate_series(1, 40000) AS n
        """,
        "ANALYZE products, stock_movements",
    ):
        await fetch(owner_url, statement)
    return products_database_url


@pytest.mark.parametrize("below", [FIRST_PAGE, LATER_PAGE])
async def test_every_page_walks_its_index(twenty_thousand: str, below: int) -> None:
    found = [
        await plans(twenty_thousand, repository.LIST, below, 51),
        await plans(twenty_thousand, repository.LIST_MOVEMENTS, below, 51, 1),
        await plans(twenty_thousand, repository.LIST_MOVEMENTS, below, 51, 15_000),
    ]

    products = ("Limit", "Index Scan Backward by products_pkey")
    movements = ("Limit", "Index Scan Backward by stock_movements_pkey")
    assert found == [[products] * 2, [movements] * 2, [movements] * 2]
