"""The rules on answers: in time, in the envelope, for a reason, with own writes, and alike from every replica."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from http import HTTPStatus
from types import MappingProxyType

from tools.faults.evidence import Breach, Difference, Evidence
from tools.faults.plan import Action, Kind, Operation
from tools.faults.record import Attempt

# The gateway gives itself 5 s; the rest is for the way and for two shared cores.
LIMIT = 6.5
_UNAVAILABLE = HTTPStatus.SERVICE_UNAVAILABLE
# Seconds after a fault of the gateway was healed until it serves again.
_RESTART = 3.0
_PAGE = 50
# Redis may round the remaining time up.
_LONGEST_TTL = 60.1

_OUTAGES: Mapping[int, tuple[str, ...]] = MappingProxyType(
    {502: ("upstream_error",), 503: ("unavailable",), 504: ("upstream_timeout", "outcome_unknown")}
)
# A conflict means that the order is not in the status for it, or the stock would leave its limits.
_CONFLICTS: Mapping[Action, tuple[str, ...]] = MappingProxyType(
    {
        "cancel": ("conflict", "expired"),
        "confirm": ("conflict", "expired"),
        "extend": ("conflict", "expired"),
        "adjust": ("conflict",),
    }
)


def requests_are_answered(evidence: Evidence) -> Iterator[Difference]:
    """Every request is answered in time, unless the gateway itself was down."""
    for operation, attempt in evidence.record.attempts():
        if _gateway_was_down(evidence, attempt):
            continue
        text = f"{operation.action} at {attempt.began:.2f} s took {attempt.ended - attempt.began:.1f} s"
        if attempt.status is None:
            yield Difference(Breach.NO_ANSWER, f"{text}: {attempt.error}", attempt.trace_id)
        elif attempt.ended - attempt.began > LIMIT:
            yield Difference(Breach.LATE, f"{text} until {attempt.status}", attempt.trace_id)


def answers_have_envelope_and_cause(evidence: Evidence) -> Iterator[Difference]:
    """Every answer is the envelope with the request's trace: a success, an outage, or a refusal that may be met.

    A crash (500) and "no such thing" (404) are never among them. `unavailable` says when to come back, and of the
    other outages none does: what came of the request may not be known.
    """
    for operation, attempt in evidence.record.attempts():
        if attempt.status is None:
            continue
        text = f"{operation.action} at {attempt.began:.2f} s: {attempt.status} {attempt.body}"
        expected = HTTPStatus.CREATED if operation.action == "order" else HTTPStatus.OK
        codes = _explained(operation)
        if attempt.status != expected and attempt.status not in codes:
            yield Difference(Breach.UNEXPLAINED, text, attempt.trace_id)
        elif not _is_enveloped(attempt, codes):
            yield Difference(Breach.ENVELOPE, text, attempt.trace_id)


def own_prices_are_seen(evidence: Evidence) -> Iterator[Difference]:
    """A client that reads a product after a reprice was answered sees that price or a later one."""
    for operation, attempt in evidence.record.attempts():
        if operation.action != "read" or not attempt.succeeded or evidence.may_be_old("products", attempt):
            continue
        prices = evidence.prices(operation.product, began=attempt.began, ended=attempt.ended)
        price = attempt.data.get("price") if isinstance(attempt.data, dict) else None
        if not isinstance(price, str) or Decimal(price) not in prices:
            text = f"a read at {attempt.began:.3f} s shows {price}, not {', '.join(map(str, sorted(prices)))}"
            yield Difference(Breach.OWN_WRITE, text, attempt.trace_id)


def own_orders_are_seen(evidence: Evidence) -> Iterator[Difference]:
    """A client that lists a product's orders after one was accepted finds it there, and as it was answered since."""
    for operation, attempt in evidence.record.attempts():
        if operation.action != "list" or not attempt.succeeded or evidence.may_be_old("orders", attempt):
            continue
        shown = {order["id"]: order["status"] for order in attempt.data or ()}
        oldest = min(shown) if len(shown) == _PAGE else 0
        for order_id, allowed in _answered_before(evidence, operation.product, attempt.began):
            found = shown.get(order_id, "missing")
            if order_id >= oldest and (found == "missing" or (allowed and found not in allowed)):
                text = f"a list at {attempt.began:.3f} s shows order {order_id} as {found}"
                yield Difference(Breach.OWN_WRITE, text, attempt.trace_id, order_id)


def replicas_show_what_is_stored(evidence: Evidence) -> Iterator[Difference]:
    """So do both Redis; only what a crash left undropped may be old for a minute."""
    state = evidence.state
    products_may_be_old = evidence.may_be_old_in_the_end("products")
    orders_may_be_old = evidence.may_be_old_in_the_end("orders")
    pages = {product_id: evidence.orders_of_product.get(product_id, [])[:_PAGE] for product_id in state.products}
    for name, views in state.product_views.items():
        if views != state.products and not products_may_be_old:
            yield Difference(Breach.CACHE, f"{name} shows {views}, not {state.products}")
    for name, listed in state.order_views.items():
        if listed != pages and not orders_may_be_old:
            others = [product_id for product_id, page in pages.items() if listed.get(product_id) != page]
            yield Difference(Breach.CACHE, f"{name} shows other orders of products {others}")
    # Its content comes from the cache of `products`, and product.updated is what drops it.
    prices_may_be_old = (
        products_may_be_old or orders_may_be_old or evidence.has_fault(Kind.DELETE_QUEUE, "orders.products")
    )
    for entry in state.cached:
        has_expiry = 0 <= entry.seconds <= _LONGEST_TTL or evidence.has_fault(Kind.CLOCK, entry.redis)
        prefix, _, identifier = entry.key.partition(":")
        is_price = entry.redis == "orders-redis" and prefix == "product"
        known = state.products.get(int(identifier), {}) if is_price else {}
        if not has_expiry or (is_price and not entry.content.items() <= known.items() and not prices_may_be_old):
            yield Difference(Breach.CACHE, f"{entry}, but {known or 'it may live for a minute'}")


def _gateway_was_down(evidence: Evidence, attempt: Attempt) -> bool:
    for fault in evidence.plan.faults:
        if fault.target == "gateway" and fault.kind in {Kind.KILL, Kind.TERMINATE, Kind.FREEZE}:
            began, ended = evidence.record.lasted[fault]
            if began <= attempt.ended and attempt.began <= ended + _RESTART:
                return True
    return False


def _explained(operation: Operation) -> Mapping[int, tuple[str, ...]]:
    """The codes that each status may have. An order that is repeated without a key meets its own reference."""
    of_order = {
        "duplicate_reference": operation.key is None and operation.reference is not None,
        "price_changed": operation.priced,
    }
    codes = _CONFLICTS.get(operation.action) or tuple(code for code, may_be in of_order.items() if may_be)
    return {HTTPStatus.CONFLICT: codes, **_OUTAGES} if codes else _OUTAGES


def _is_enveloped(attempt: Attempt, codes: Mapping[int, tuple[str, ...]]) -> bool:
    body = attempt.body
    if not isinstance(body, dict) or (body.get("statusCode"), body.get("traceId")) != (
        attempt.status,
        attempt.trace_id,
    ):
        return False
    if attempt.succeeded:
        return body.get("data") is not None
    error = body.get("error")
    return (
        "data" in body
        and body["data"] is None
        and isinstance(error, dict)
        and isinstance(error.get("message"), str)
        and error.get("code") in codes[attempt.status or 0]
        and (error["code"] == "conflict" or attempt.is_deferred == (attempt.status == _UNAVAILABLE))
    )


def _answered_before(evidence: Evidence, product: int, began: float) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The orders of a product that were accepted by then, and what they may be, () for anything."""
    answered: Mapping[Action, tuple[str, ...]] = {"cancel": ("cancelled",), "confirm": ("done", "cancelled")}
    for order_id, (operation, accepted) in evidence.acceptances.items():
        if accepted.ended < began and any(product == each for each, _ in operation.lines):
            allowed: tuple[str, ...] = ()
            for action, statuses in answered.items():
                attempts = evidence.asked(action, order_id)
                if any(attempt.succeeded and attempt.ended < began for attempt in attempts):
                    allowed = allowed or statuses
            yield order_id, allowed
