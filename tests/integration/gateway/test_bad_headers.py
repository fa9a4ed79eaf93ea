"""Headers that steer a use case, wrong in every way: refused by name, and no service sees the request."""

from typing import Any

import pytest

from tests.api import Api
from tests.integration.bad_input import Case, expected, refusals
from tests.integration.upstream import FakeService

PRODUCT = {"name": "Lamp", "price": "1.50", "qty": 1}
ADJUSTMENT = {"delta": -1, "reason": "broken"}
ORDER = {"productId": 7, "quantity": 1}
KEYED = {"/products": PRODUCT, "/products/7/stock": ADJUSTMENT, "/orders": ORDER}

WRONG_KEYS = ["", " ", "k" * 256, "two words", "tab\tinside", "schlüssel"]
WRONG_TAGS = ["1", "'1'", '"', '"1', 'w/"1"', "W/1", '"1" "2"', '"1";', '"1", *', '*, "1"', '"tab\t"']
WRONG_POSITIONS = ["-1", "+1", "1.0", "one", "1 2", "１", "1" * 10]  # noqa: RUF001  # a digit, but not ours


def of_header(method: str, path: str, content: Any, *headers: tuple[str, str]) -> Case:
    return Case(method, path, 400, "validation_error", [headers[0][0]], {"json": content, "headers": headers})


def of_values(method: str, path: str, content: Any, name: str, *, valid: str, wrong: list[str]) -> dict[str, Case]:
    """Each wrong value alone, and a valid one twice."""
    cases = {
        f"{method} {path} {name}: {value[:20]}": of_header(method, path, content, (name, value)) for value in wrong
    }
    twice = of_header(method, path, content, (name, valid), (name, valid))
    return {**cases, f"{method} {path} {name} twice": twice}


CASES = {
    **of_values("POST", "/products", PRODUCT, "Idempotency-Key", valid="key", wrong=WRONG_KEYS),
    **of_values("POST", "/products/7/stock", ADJUSTMENT, "Idempotency-Key", valid="key", wrong=WRONG_KEYS),
    **of_values("POST", "/orders", ORDER, "Idempotency-Key", valid="key", wrong=WRONG_KEYS),
    **of_values("PATCH", "/products/7", {"name": "Lamp"}, "If-Match", valid="*", wrong=WRONG_TAGS),
    **of_values("GET", "/orders/7/events", None, "Last-Event-ID", valid="1", wrong=WRONG_POSITIONS),
}


async def test_a_wrong_header_is_refused_before_any_service_sees_it(
    gateway: Api, products: FakeService, orders: FakeService
) -> None:
    assert await refusals(gateway, CASES) == expected(CASES)
    assert products.seen == orders.seen == []


@pytest.mark.parametrize("path", KEYED)
@pytest.mark.parametrize("key", ["k", "!~", "k" * 255])
async def test_a_key_of_any_length_that_is_allowed_is_forwarded(
    gateway: Api, products: FakeService, orders: FakeService, path: str, key: str
) -> None:
    await gateway.post(path, KEYED[path], headers={"Idempotency-Key": key})

    [seen] = [*products.seen, *orders.seen]
    assert seen.headers["Idempotency-Key"] == key
