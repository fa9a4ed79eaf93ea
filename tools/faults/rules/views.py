"""What is promised of caches, and of what clients and replicas are shown."""

from collections.abc import Iterator
from decimal import Decimal
from http import HTTPStatus
from typing import Any

from tools.faults.difference import Breach, Difference
from tools.faults.evidence import Evidence, succeeded
from tools.faults.plan import Kind
from tools.faults.record import Attempt
from tools.faults.views import Cached

# DESIGN §8; what Redis says of a key may be rounded up.
_LONGEST_TTL = 60.1
_PAGE = 50
_PRODUCT, _LIST = "product:", "orders:product:"


def caches_agree(evidence: Evidence) -> Iterator[Difference]:
    """A cached value is what is in the database; only what a crash left undropped may differ, until it expires."""
    for entry in evidence.state.cached:
        shown = _cached(evidence, entry)
        if shown is None or (shown[0] != shown[1] and not _may_be_old(evidence, entry)):
            text = f"{entry.redis} {entry.key}: " + (f"{shown[0]}, not {shown[1]}" if shown else "of nothing there is")
            yield Difference(Breach.CACHE, text)


def cached_values_expire(evidence: Evidence) -> Iterator[Difference]:
    """Within 60 s, unless the clock of that Redis jumped."""
    jumped = {fault.target for fault in evidence.plan.faults if fault.kind is Kind.CLOCK}
    for entry in evidence.state.cached:
        if entry.redis not in jumped and not 0 <= entry.seconds <= _LONGEST_TTL:
            yield Difference(Breach.CACHE, f"{entry.redis} {entry.key} expires in {entry.seconds:g} s")


def replicas_agree(evidence: Evidence) -> Iterator[Difference]:
    """Every replica shows what is in the database."""
    for answer in evidence.state.answers:
        service = answer.replica.partition("-")[0]
        is_cached = answer.path.startswith(("/products/", "/orders/product/"))
        shown = _answered(evidence, answer.path, answer.body if answer.status == HTTPStatus.OK else None)
        if shown[0] != shown[1] and not (is_cached and evidence.drops_may_be_missing(service)):
            text = f"{answer.replica} {answer.path}: {answer.status} {shown[0]}, not {shown[1]}"
            yield Difference(Breach.REPLICA, text)


def own_prices_are_seen(evidence: Evidence) -> Iterator[Difference]:
    """Who reads a product after a reprice was answered sees that price or a later one."""
    if evidence.drops_may_be_late:
        return
    for outcome in evidence.outcomes("read"):
        for attempt in filter(succeeded, outcome.attempts):
            prices = evidence.prices(outcome.operation.product, began=attempt.began, ended=attempt.ended)
            price = attempt.data.get("price") if isinstance(attempt.data, dict) else None
            if not isinstance(price, str) or Decimal(price) not in prices:
                text = f"a read at {attempt.began:.3f} s shows {price}, not {', '.join(map(str, sorted(prices)))}"
                yield Difference(Breach.OWN_WRITE, text, attempt.trace_id)


def own_orders_are_seen(evidence: Evidence) -> Iterator[Difference]:
    """Who lists the orders of a product after one was accepted, or cancelled, finds it there, and cancelled."""
    if evidence.drops_may_be_late:
        return
    for outcome in evidence.outcomes("list"):
        for attempt in filter(succeeded, outcome.attempts):
            shown = {order["id"]: order["status"] for order in attempt.data or ()}
            oldest = min(shown) if len(shown) == _PAGE else 0
            for order_id, is_cancelled in _answered_before(evidence, outcome.operation.product, attempt.began):
                found = shown.get(order_id, "missing")
                if order_id >= oldest and (found == "missing" or (is_cancelled and found != "cancelled")):
                    text = f"a list at {attempt.began:.3f} s shows order {order_id} as {found}"
                    yield Difference(Breach.OWN_WRITE, text, attempt.trace_id, order_id)


def _answered_before(evidence: Evidence, product: int, began: float) -> Iterator[tuple[int, bool]]:
    """Orders of a product that were accepted by then, and whether they were cancelled by then too."""
    for order_id, (outcome, accepted) in evidence.acceptances.items():
        if outcome.operation.product == product and accepted.ended < began:
            cancellations = evidence.cancellations.get(order_id, ())
            yield order_id, any(_is_over(attempt, began) for attempt in cancellations)


def _is_over(attempt: Attempt, began: float) -> bool:
    return succeeded(attempt) and attempt.ended < began


def _cached(evidence: Evidence, entry: Cached) -> tuple[Any, Any] | None:
    """What is cached and what it ought to be; None for a key that means nothing."""
    for prefix in (_LIST, _PRODUCT):
        if entry.key.startswith(prefix) and entry.key.removeprefix(prefix).isdecimal():
            product_id = int(entry.key.removeprefix(prefix))
            break
    else:
        return None
    if prefix == _LIST:
        content = entry.content if isinstance(entry.content, dict) else {}
        expected = _page(evidence, product_id)
        return (_like(content.get("orders"), expected[0]), content.get("next") is not None), expected
    product = evidence.products.get(product_id)
    expected_product = product.as_json() if product else None
    if expected_product and entry.redis == "orders-redis":
        del expected_product["qty"], expected_product["version"]
    return _like(entry.content, expected_product), expected_product


def _answered(evidence: Evidence, path: str, body: Any) -> tuple[Any, Any]:
    """What a replica shows under a path and what it ought to; None for no answer."""
    body = body if isinstance(body, dict) else {}
    identifier = int(path.rpartition("/")[2])
    if path.startswith("/orders/product/"):
        expected_page = _page(evidence, identifier)
        has_next = isinstance(body.get("page"), dict) and body["page"].get("next") is not None
        return (_like(body.get("data"), expected_page[0]), has_next), expected_page
    found = evidence.orders.get(identifier) if path.startswith("/orders/") else evidence.products.get(identifier)
    expected = found.as_json() if found else None
    return _like(body.get("data"), expected), expected


def _page(evidence: Evidence, product_id: int) -> tuple[list[dict[str, Any]], bool]:
    """The first page of a product's orders, and whether there is another."""
    orders = evidence.orders_of_product.get(product_id, [])
    return [order.as_json() for order in orders[:_PAGE]], len(orders) > _PAGE


def _like(found: Any, expected: Any) -> Any:
    """`found` with the fields only that are compared."""
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        return [_like(one, other) for one, other in zip(found, expected, strict=True)]
    if isinstance(found, dict) and isinstance(expected, dict):
        return {name: found.get(name) for name in expected}
    return found


def _may_be_old(evidence: Evidence, entry: Cached) -> bool:
    if evidence.drops_may_be_missing(entry.redis.removesuffix("-redis")):
        return True
    # product.updated is what tells the order service to drop a product.
    is_product_of_orders = entry.redis == "orders-redis" and entry.key.startswith(_PRODUCT)
    return is_product_of_orders and evidence.was_deleted("orders.products")
