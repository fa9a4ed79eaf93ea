"""The operator's tools in this process, on data of the test's own."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from ops.__main__ import parse
from ops.output import Answer
from tests.broker import Vhost
from tests.databases import as_operator
from tests.integration.ops.shop import Shop, open_shop

Ops = Callable[..., Awaitable[Answer]]


@pytest.fixture
def ops_environment() -> dict[str, str]:
    """The URLs of the servers; each fixture that a test uses adds its own."""
    return {}


@pytest.fixture
def ops(ops_environment: dict[str, str]) -> Ops:
    """Runs a command: `await ops("dead-letters", "list")`."""

    async def call(*arguments: str) -> Answer:
        options = parse(arguments)
        answer: Answer = await options.run(ops_environment, options)
        assert answer.render(as_json=True)
        assert answer.render(as_json=False)
        return answer

    return call


@pytest.fixture
async def broker(vhost: Vhost, ops_environment: dict[str, str]) -> Vhost:
    """A virtual host with the queues of the services."""
    await vhost.declare()
    ops_environment["AMQP_URL"] = vhost.url
    return vhost


@pytest.fixture
def products_url(products_database_url: str, ops_environment: dict[str, str]) -> str:
    ops_environment["PRODUCTS_DATABASE_URL"] = as_operator(products_database_url)
    return products_database_url


@pytest.fixture
def orders_url(orders_database_url: str, ops_environment: dict[str, str]) -> str:
    ops_environment["ORDERS_DATABASE_URL"] = as_operator(orders_database_url)
    return orders_database_url


@pytest.fixture
async def shop(products_url: str, orders_url: str) -> AsyncIterator[Shop]:
    async with open_shop(as_operator(products_url), as_operator(orders_url)) as shop:
        yield shop
