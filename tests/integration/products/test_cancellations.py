"""`order.created` and `order.cancelled` in either order, each more than once, together and apart."""

from typing import Any

from tests.api import Api
from tests.broker import Vhost
from tests.integration.products.stock import answers, cancelled, created, left, movements, outcomes, product
from tests.waiting import eventually

RESERVED, RELEASED = (1, "reserve", -4), (1, "release", 4)


class Products:
    """The service, fed with events one message after the other."""

    def __init__(self, url: str, vhost: Vhost, product_id: int) -> None:
        self.url = url
        self.product_id = product_id
        self._vhost = vhost
        self._markers = iter(range(1001, 2000))

    async def consume(self, *events: dict[str, Any]) -> list[tuple[int, str]]:
        """Publishes one message and returns once it was applied: what order 1 was told meanwhile."""
        marker = next(self._markers)
        await self._vhost.publish_batch(*events)
        await self._vhost.publish_batch(created(404, marker, 1))
        told: list[tuple[int, str]] = []

        async def marker_is_answered() -> bool:
            told.extend(answers(await self._vhost.take_events("orders.stock")))
            return (marker, "rejected") in told

        await eventually(marker_is_answered)
        return [answer for answer in told if answer[0] == 1]

    async def end(self) -> tuple[int, str, list[tuple[int | None, str, int]]]:
        """Stock, outcome of order 1 and its movements."""
        return (
            await left(self.url, self.product_id),
            (await outcomes(self.url))[1],
            await movements(self.url),
        )


async def start(url: str, vhost: Vhost, qty: int = 10) -> tuple[Products, dict[str, Any], dict[str, Any]]:
    """With the two events of order 1, which asks for four pieces."""
    product_id = await product(url, qty)
    return Products(url, vhost, product_id), created(product_id, 1, 4), cancelled(product_id, 1, 4)


async def test_a_cancelled_order_gives_its_stock_back_once(
    products_api: Api, products_database_url: str, vhost: Vhost
) -> None:
    products, create, cancel = await start(products_database_url, vhost)

    told = [await products.consume(event) for event in (create, create, cancel, cancel, create, cancel)]

    assert told == [[(1, "done")], [(1, "done")], [], [], [], []]
    assert await products.end() == (10, "released", [RESERVED, RELEASED])
    assert (await products_api.get(f"/products/{products.product_id}")).data["qty"] == 10


async def test_an_order_that_was_cancelled_before_it_is_known_takes_nothing(
    products_api: Api, products_database_url: str, vhost: Vhost
) -> None:
    products, create, cancel = await start(products_database_url, vhost)

    told = [await products.consume(event) for event in (cancel, cancel, create, create, cancel)]

    assert told == [[]] * 5
    assert await products.end() == (10, "released", [])


async def test_in_one_batch_it_ends_the_same(products_api: Api, products_database_url: str, vhost: Vhost) -> None:
    ends = []
    for order_id, both in ((1, (created, cancelled)), (2, (cancelled, created))):
        products, _, _ = await start(products_database_url, vhost)
        ask, give_back = [each(products.product_id, order_id, 4) for each in both]
        told = await products.consume(ask, ask, give_back, give_back, ask, give_back)
        ends.append((told, await left(products.url, products.product_id)))

    assert ends == [([], 10), ([], 10)]
    assert {1: "released", 2: "released"}.items() <= (await outcomes(products_database_url)).items()
    assert await movements(products_database_url) == [RESERVED, RELEASED]


async def test_a_rejected_order_has_nothing_to_give_back(
    products_api: Api, products_database_url: str, vhost: Vhost
) -> None:
    products, create, cancel = await start(products_database_url, vhost, qty=3)

    told = [await products.consume(event) for event in (create, cancel, create)]

    assert told == [[(1, "rejected")], [], [(1, "rejected")]]
    assert await products.end() == (3, "rejected", [])


async def test_what_one_order_gives_back_the_next_one_gets(
    products_api: Api, products_database_url: str, vhost: Vhost
) -> None:
    products, create, cancel = await start(products_database_url, vhost, qty=4)
    other = created(products.product_id, 2, 4)

    told = await products.consume(create, other, cancel, created(products.product_id, 3, 4))

    assert told == []
    assert {1: "released", 2: "rejected", 3: "reserved"}.items() <= (await outcomes(products_database_url)).items()
    assert await left(products_database_url, products.product_id) == 0
