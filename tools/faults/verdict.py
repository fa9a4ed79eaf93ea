"""Whether a round kept every promise: what clients saw, against what the system shows in the end."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import accumulate

from ops.differences import Kind as RowKind
from tools.faults import answers
from tools.faults.evidence import Breach, Difference, Evidence
from tools.faults.plan import QUEUES, Kind
from tools.faults.record import Attempt, Outcome, Record
from tools.faults.state import Json, State

# Seconds in which an order becomes final that meets no fault of its own.
_PROMPT = 4.0
# Seconds until rows are locked; those of orders that came until then may be among them.
_LOCKED = 1.0


def judge(record: Record, state: State) -> list[Difference]:
    """Every promise that was not kept; a database that lost its tail cannot keep all of them."""
    evidence = Evidence(record, state)
    rules = RESTORED_RULES if evidence.is_restored else RULES
    return [difference for rule in rules for difference in rule(evidence)]


def nothing_accepted_is_lost(evidence: Evidence) -> Iterator[Difference]:
    """Every order that a 201 announced exists as it was answered."""
    for request in evidence.record.sent("order"):
        for attempt in request.attempts:
            order_id = attempt.accepted_id
            if order_id is not None:
                yield from _unaltered(request, attempt, evidence.state.orders.get(order_id), order_id)


def nothing_is_done_twice(evidence: Evidence) -> Iterator[Difference]:
    """A key is one order, and so is a request without one; all its answers announce the same order."""
    for request in evidence.record.sent("order"):
        traces = (attempt.trace_id for attempt in request.attempts)
        stored = {order["id"] for trace_id in traces for order in evidence.orders_of_trace.get(trace_id, ())}
        announced = {attempt.accepted_id for attempt in request.attempts if attempt.accepted_id is not None}
        if len(stored | announced) > 1:
            text = f"{request.operation} made orders {sorted(stored)} and was answered {sorted(announced)}"
            yield Difference(Breach.DOUBLED, text, request.attempts[0].trace_id, min(stored | announced))


def nothing_is_made_up(evidence: Evidence) -> Iterator[Difference]:
    """Every order has the trace of a request whose answer allows that it exists, and is what that asked for."""
    for order in evidence.state.orders.values():
        request, attempt = evidence.creations.get(order["traceId"], (None, None))
        if request is None or attempt is None:
            yield _of(order, Breach.UNASKED, "no request has its trace")
        elif attempt.is_refused:
            yield _of(order, Breach.UNASKED, f"its request was answered {attempt.status}")
        elif (order["productId"], order["quantity"]) != (
            asked := (evidence.product_id(request.operation), request.operation.amount)
        ):
            yield _of(order, Breach.UNASKED, f"product and quantity were {asked} in its request")


def prices_are_true(evidence: Evidence) -> Iterator[Difference]:
    """The unit price is one that the product had until then; the total is that times the quantity."""
    for order in evidence.state.orders.values():
        price = Decimal(order["unitPrice"])
        if Decimal(order["totalPrice"]) != price * order["quantity"]:
            yield _of(order, Breach.PRICE, f"{order['quantity']} of {price} cost {order['totalPrice']}")
        request, attempt = evidence.creations.get(order["traceId"], (None, None))
        if request is None or attempt is None:
            continue
        prices = evidence.prices(request.operation.product, ended=attempt.ended if attempt.is_certain else math.inf)
        if price not in prices:
            yield _of(order, Breach.PRICE, f"{price} is not among {', '.join(map(str, sorted(prices)))}")


def orders_finish(evidence: Evidence) -> Iterator[Difference]:
    """No order stays pending; it is rejected only where the stock was less than its quantity at some moment."""
    for order in evidence.state.orders.values():
        status, reason = order["status"], order["reason"]
        if status == "pending":
            yield _of(order, Breach.UNFINISHED, "it is still pending")
        elif reason != ("insufficient_stock" if status == "rejected" else None):
            yield _of(order, Breach.REJECTED, f"it has the reason {reason}")
        elif (
            status == "rejected"
            and not evidence.is_restored
            and (least := min(_levels(evidence, order["productId"]), default=0)) >= order["quantity"]
        ):
            yield _of(order, Breach.REJECTED, f"the stock was never less than {least}")


def orders_go_on_beside_a_lock(evidence: Evidence) -> Iterator[Difference]:
    """While a row is locked, and nothing else is broken, orders that do not need it are done or rejected in time."""
    for fault, began, ended in evidence.alone(Kind.LOCK):
        for order_id, (operation, accepted) in evidence.acceptances.items():
            order = evidence.state.orders.get(order_id)
            needs_it = fault.target == "products-db" and operation.product == 0  # the first product is locked
            if order is None or order["status"] == "cancelled" or needs_it:
                continue
            if began + _LOCKED < accepted.ended < ended - _PROMPT:
                final = datetime.fromisoformat(order["updatedAt"]).timestamp() - evidence.record.began
                if final - accepted.ended > _PROMPT:
                    yield _of(order, Breach.HELD_UP, f"accepted at {accepted.ended:.2f} s, final at {final:.2f} s")


def cancellations_are_kept(evidence: Evidence) -> Iterator[Difference]:
    """An order is cancelled exactly where a 200 said so or a failed answer left it open; a 409 means rejected."""
    for order in evidence.state.orders.values():
        attempts = evidence.cancellations.get(order["id"], ())
        may_be = any(not attempt.is_refused for attempt in attempts)
        if order["status"] == "cancelled" and not may_be:
            yield _of(order, Breach.CANCELLED, "no answer said so")
        for attempt in attempts:
            if attempt.is_certain and order["status"] != ("cancelled" if attempt.succeeded else "rejected"):
                yield _of(order, Breach.CANCELLED, f"its cancellation was answered {attempt.status}", attempt)


def stock_adds_up(evidence: Evidence) -> Iterator[Difference]:
    """Stock is what was entered and corrected less the pieces of done orders, and was never below zero."""
    for index, product_id in enumerate(evidence.record.products):
        entered = evidence.plan.products[index].qty
        movements = evidence.state.movements.get(product_id, ())
        orders = evidence.orders_of_product.get(product_id, ())
        sold = sum(order["quantity"] for order in orders if order["status"] == "done")
        corrected = sum(movement["delta"] for movement in movements if movement["kind"] == "adjustment")
        found = evidence.state.products.get(product_id, {}).get("qty")
        if found != entered + corrected - sold:
            text = f"product {product_id}: {found}, but {entered} entered, {corrected:+} corrected, {sold} sold"
            yield Difference(Breach.STOCK, text)
        if (least := min([*_levels(evidence, product_id), found or 0])) < 0:
            yield Difference(Breach.BELOW_ZERO, f"product {product_id}: {least}")


def adjustments_happen_once(evidence: Evidence) -> Iterator[Difference]:
    """An adjustment that was answered 200 is one movement, one that was refused none, any other at most one."""
    made = Counter(
        (product_id, movement["reason"], movement["delta"])
        for product_id, movements in evidence.state.movements.items()
        for movement in movements
        if movement["kind"] == "adjustment"
    )
    for request in evidence.record.sent("adjust"):
        operation = request.operation
        times = made.pop((evidence.product_id(operation), operation.key, operation.amount), 0)
        least, most = (1 if request.has_succeeded else 0), (0 if request.is_refused else 1)
        if not least <= times <= most:
            text = f"{operation} happened {times} times, not {least} to {most}"
            yield Difference(Breach.ADJUSTMENT, text, request.attempts[0].trace_id)
    for product_id, reason, delta in made:
        yield Difference(Breach.ADJUSTMENT, f"product {product_id}: no request asked for {delta:+} ({reason})")


def reprices_happen_once(evidence: Evidence) -> Iterator[Difference]:
    """The price is the last one set; the version counts the changes."""
    for index, product_id in enumerate(evidence.record.products):
        product, reprices = evidence.state.products.get(product_id), evidence.reprices.get(index, ())
        least, most = 1 + sum(request.has_succeeded for request in reprices), 1 + len(reprices)
        prices = evidence.prices(index, began=math.inf)
        if product is None:
            yield Difference(Breach.CATALOGUE, f"there is no product {product_id}")
        elif Decimal(product["price"]) not in prices or not least <= product["version"] <= most:
            expected = f"{', '.join(map(str, sorted(prices)))} in version {least} to {most}"
            yield Difference(Breach.CATALOGUE, f"{product}, not {expected}")


def nothing_is_left_over(evidence: Evidence) -> Iterator[Difference]:
    """Outboxes and queues are empty, and `reconcile` agrees with the rows."""
    state = evidence.state
    for service, waiting in state.outboxes.items():
        if waiting:
            yield Difference(Breach.OUTBOX, f"{waiting} rows of {service}")
    for name in QUEUES:
        if state.queues.get(name) != 0:
            yield Difference(
                Breach.QUEUE, f"{name} holds {state.queues[name]}" if name in state.queues else f"no {name}"
            )
    for row in state.rows:
        # The times of a history may be out of order after a jump.
        if row.kind is not RowKind.HISTORY or not evidence.has_fault(Kind.CLOCK, "orders-db"):
            text = f"{row.kind} of product {row.product_id}, order {row.order_id}: {row.found}, not {row.expected}"
            yield Difference(Breach.ROWS, text, row.trace_id, row.order_id)


def dead_letters_are_explained(evidence: Evidence) -> Iterator[Difference]:
    """What nobody can read is among them, where a fault has sent it, and nothing else."""
    planted = {fault.target for fault in evidence.plan.faults if fault.kind is Kind.DELETE_DEAD}
    for letter in evidence.state.dead_letters:
        if letter["queue"] in planted and letter["error"] == "not JSON":
            continue
        if evidence.is_restored and "Another order has" in letter["error"]:
            continue  # it is about an order that is lost
        text = f"{letter['queue']}: {letter['eventType']} {letter['eventId']}, {letter['reason']}: {letter['error']}"
        yield Difference(Breach.DEAD_LETTER, text, letter["traceId"])
    for name in planted - {letter["queue"] for letter in evidence.state.dead_letters}:
        if not evidence.has_fault(Kind.DELETE_QUEUE, name):
            yield Difference(Breach.DEAD_LETTER, f"{name}: what nobody can read is not among them")


RULES: Sequence[Callable[[Evidence], Iterator[Difference]]] = (
    nothing_accepted_is_lost,
    nothing_is_done_twice,
    nothing_is_made_up,
    prices_are_true,
    orders_finish,
    orders_go_on_beside_a_lock,
    cancellations_are_kept,
    stock_adds_up,
    adjustments_happen_once,
    reprices_happen_once,
    nothing_is_left_over,
    dead_letters_are_explained,
    answers.replicas_show_what_is_stored,
    answers.requests_are_answered,
    answers.answers_have_envelope_and_cause,
    answers.own_prices_are_seen,
    answers.own_orders_are_seen,
)
RESTORED_RULES: Sequence[Callable[[Evidence], Iterator[Difference]]] = (
    nothing_is_made_up,
    prices_are_true,
    orders_finish,
    stock_adds_up,
    nothing_is_left_over,
    dead_letters_are_explained,
    answers.requests_are_answered,
)


def _unaltered(request: Outcome, attempt: Attempt, order: Json | None, order_id: int) -> Iterator[Difference]:
    if order is None:
        text = f"order {order_id} was answered 201 at {attempt.ended:.2f} s and does not exist"
        yield Difference(Breach.LOST, text, attempt.trace_id, order_id)
        return
    # A repeat under a key is answered with the order as it was placed too.
    placed = {**order, "status": "pending", "reason": None, "updatedAt": order["createdAt"]}
    if attempt.data != placed or order["traceId"] not in {each.trace_id for each in request.attempts}:
        yield Difference(Breach.ALTERED, f"answered {attempt.data}, now {order}", attempt.trace_id, order_id)


def _levels(evidence: Evidence, product_id: int) -> Iterator[int]:
    """The stock after each movement, by the movements alone."""
    return accumulate(movement["delta"] for movement in evidence.state.movements.get(product_id, ()))


def _of(order: Json, kind: Breach, text: str, attempt: Attempt | None = None) -> Difference:
    order_id, quantity, product_id = order["id"], order["quantity"], order["productId"]
    trace_id = attempt.trace_id if attempt else order["traceId"]
    named = f"order {order_id} ({order['status']}, {quantity} of product {product_id})"
    return Difference(kind, f"{named}: {text}", trace_id, order_id)
