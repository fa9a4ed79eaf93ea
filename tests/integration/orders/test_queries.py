from datetime import UTC, datetime

import pytest

from orders import repository
from shared.pagination import MAX_ID
from tests.databases import PASSWORD, fetch
from tests.integration.plans import plans
from tools.stack.servers import Servers

FIRST_PAGE, LATER_PAGE = MAX_ID, 15_000


@pytest.fixture
async def twenty_thousand(servers: Servers, orders_database_url: str) -> str:
    """Orders of 200 products, a few of them pending, every tenth with a key; the URL of the service's role."""
    owner_url = servers.postgres.database_url("orders_owner", PASSWORD, orders_database_url.rpartition("/")[2])
    for statement in (
        """
        INSERT INTO orders (product_id, quantity, unit_price, total_price, status, trace_id, idempotency_key)
        SELECT n % 200, 1, 1, 1, CASE WHEN n % 1000 = 0 THEN 'pending' WHEN n % 7 = 0 THEN 'rejected' ELSE 'done' END,
               'trace', CASE WHEN n % 10 = 0 THEN 'key ' || n END
        FROM generate_series(1, 20000) AS n
        """,
        "INSERT INTO order_history (order_id, status) SELECT id, 'pending' FROM orders",
        "ANALYZE orders, order_history",
    ):
        await fetch(owner_url, statement)
    return orders_database_url


def page(index: str) -> list[tuple[str, ...]]:
    """For these arguments and for any."""
    return [("Limit", f"Index Scan Backward by {index}")] * 2


@pytest.mark.parametrize("below", [FIRST_PAGE, LATER_PAGE])
async def test_every_page_walks_its_index(twenty_thousand: str, below: int) -> None:
    found = {
        "all": await plans(twenty_thousand, repository.LIST, below, 51),
        "pending": await plans(twenty_thousand, repository.LIST_BY_STATUS, below, 51, "pending"),
        "rejected": await plans(twenty_thousand, repository.LIST_BY_STATUS, below, 51, "rejected"),
        "done, as nearly all are": await plans(twenty_thousand, repository.LIST_BY_STATUS, below, 51, "done"),
        "of a product": await plans(twenty_thousand, repository.LIST_BY_PRODUCT, below, 51, 7),
        "both": await plans(twenty_thousand, repository.LIST_BY_PRODUCT_AND_STATUS, below, 51, 7, "done"),
    }

    assert found == {
        "all": page("orders_pkey"),
        "pending": page("orders_status"),
        "rejected": page("orders_status"),
        "done, as nearly all are": page("orders_status"),
        "of a product": page("orders_product"),
        "both": page("orders_product_status"),
    }


async def test_what_looks_for_a_few_orders_walks_an_index(twenty_thousand: str) -> None:
    pending = await plans(twenty_thousand, repository.LIST_PENDING, 0, 1000, datetime.now(UTC))
    keyed = await plans(twenty_thousand, repository.FIND_BY_KEY, "key 70")
    history = await plans(twenty_thousand, repository.GET_HISTORY, 70)

    assert pending == [("Limit", "Index Scan Forward by orders_status")] * 2
    assert keyed == [("Index Scan Forward by orders_idempotency_key",)] * 2
    # At most four rows to sort: one for each status.
    assert history == [("Sort", "Index Scan Forward by order_history_pkey")] * 2
