"""Whether a round kept every promise: what clients saw, against what the system shows in the end."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import TypeAlias

from ops.differences import Kind as RowKind
from shared.errors import Code
from tools.faults import answers
from tools.faults.evidence import Breach, Difference, Evidence, pieces, time_of
from tools.faults.plan import QUEUES, Action, Kind
from tools.faults.record import Attempt, Outcome, Record
from tools.faults.state import Json, State

Rules: TypeAlias = Sequence[Callable[[Evidence], Iterator[Difference]]]

# Seconds in which an order becomes final that meets no fault of its own.
_PROMPT = 4.0
# Seconds until rows are locked; those of orders that came until then may be among them.
_LOCKED = 1.0

# What an order may be in the end after an answer to what a client wanted, None for a success.
_AFTER: Mapping[tuple[Action, Code | None], Collection[str]] = MappingProxyType(
    {
        ("cancel", None): ("cancelled",),
        ("cancel", Code.CONFLICT): ("rejected",),
        ("cancel", Code.EXPIRED): ("expired",),
        ("confirm", None): ("done", "cancelled"),
        ("confirm", Code.CONFLICT): ("rejected", "cancelled"),
        ("confirm", Code.EXPIRED): ("expired", "cancelled"),
        ("extend", None): ("held", "done", "cancelled", "expired"),
        ("extend", Code.CONFLICT): ("done", "rejected", "cancelled"),
        ("extend", Code.EXPIRED): ("expired", "cancelled"),
    }
)
# By status, what the movements of an order may have done with its stock, and the outcome of its reservation, held or
# not: a cancellation may have come before the decision.
_WHOLE: Mapping[str, Collection[tuple[str, tuple[str, bool]]]] = MappingProxyType(
    {
        "held": [("taken", ("reserved", True))],
        "done": [("taken", ("reserved", False))],
        "rejected": [("nothing", ("rejected", False))],
        "expired": [("returned", ("released", False))],
        "cancelled": [
            ("returned", ("released", False)),
            ("nothing", ("released", False)),
            ("nothing", ("rejected", False)),
        ],
    }
)


def judge(record: Record, state: State, rules: Rules | None = None) -> list[Difference]:
    """Every promise that was not kept; a database that lost its tail cannot keep all of them."""
    evidence = Evidence(record, state)
    rules = rules or (RESTORED_RULES if evidence.is_restored else RULES)
    return [difference for rule in rules for difference in rule(evidence)]


def nothing_accepted_is_lost(evidence: Evidence) -> Iterator[Difference]:
    """Every order that a 201 announced exists as it was answered."""
    for request in evidence.record.sent("order"):
        for attempt in request.attempts:
            order_id = attempt.accepted_id
            if order_id is not None:
                yield from _unaltered(evidence, request, attempt, order_id)


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
        else:
            operation = request.operation
            lines = [(evidence.record.products[product], quantity) for product, quantity in operation.lines]
            asked = (lines, operation.reference, operation.hold > 0)
            if (list(pieces(order).items()), order["reference"], order["expiresAt"] is not None) != asked:
                yield _of(order, Breach.UNASKED, f"lines, reference and hold were {asked} in its request")


def references_are_of_one_order(evidence: Evidence) -> Iterator[Difference]:
    """A request is told that its reference is taken only where another attempt of it has placed the order."""
    for request in evidence.record.sent("order"):
        for attempt in request.attempts:
            if attempt.code == Code.DUPLICATE_REFERENCE:
                others = {other.trace_id for other in request.attempts if other is not attempt}
                placed = [order for trace_id in others for order in evidence.orders_of_trace.get(trace_id, ())]
                if [order["reference"] for order in placed] != [request.operation.reference]:
                    text = f"{request.operation.reference} is not of an order of its request"
                    yield Difference(Breach.UNASKED, text, attempt.trace_id)


def prices_are_true(evidence: Evidence) -> Iterator[Difference]:
    """Each unit price is one that the product had until then, and the total adds up.

    A price that the request has named is that of the order, or it is refused because it was another.
    """
    for order in evidence.state.orders.values():
        totals = [Decimal(line["unitPrice"]) * line["quantity"] for line in order["lines"]]
        shown = [Decimal(line["totalPrice"]) for line in order["lines"]]
        if shown != totals or Decimal(order["totalPrice"]) != sum(totals):
            yield _of(order, Breach.PRICE, f"{order['lines']} cost {order['totalPrice']}")
        request, attempt = evidence.creations.get(order["traceId"], (None, None))
        if request is None or attempt is None:
            continue
        ended = attempt.ended if attempt.is_certain else math.inf
        for (product, _), line in zip(request.operation.lines, order["lines"], strict=False):
            first = {Decimal(evidence.plan.products[product].price)}
            prices = first if request.operation.priced else evidence.prices(product, ended=ended)
            if Decimal(line["unitPrice"]) not in prices:
                text = f"{line['unitPrice']} is not among {', '.join(map(str, sorted(prices)))}"
                yield _of(order, Breach.PRICE, text)
    for operation, attempt in evidence.record.attempts():
        if attempt.code == Code.PRICE_CHANGED and all(
            evidence.prices(product, began=attempt.began, ended=attempt.ended)
            == {Decimal(evidence.plan.products[product].price)}
            for product, _ in operation.lines
        ):
            yield Difference(Breach.PRICE, f"{operation} was refused for its prices", attempt.trace_id)


def orders_finish(evidence: Evidence) -> Iterator[Difference]:
    """No order stays pending or held; it is rejected only where the stock of a line was too short at that moment."""
    for order in evidence.state.orders.values():
        status, reason, shortages = order["status"], order["reason"], order["shortages"]
        if status == "pending" or (status == "held" and not evidence.may_be_held(order)):
            yield _of(order, Breach.UNFINISHED, f"it is still {status}")
        elif reason != ("insufficient_stock" if status == "rejected" else None):
            yield _of(order, Breach.REJECTED, f"it has the reason {reason}")
        elif bool(shortages) != (status == "rejected"):
            yield _of(order, Breach.REJECTED, f"it has the shortages {shortages}")
        for short in () if evidence.is_restored else shortages:
            asked, available = pieces(order).get(short["productId"], 0), short["available"]
            if not available < short["requested"] == asked or available not in _levels(evidence, short["productId"]):
                yield _of(order, Breach.REJECTED, f"there was no such moment: {short}")


def orders_are_whole(evidence: Evidence) -> Iterator[Difference]:
    """All lines of an order have their stock, or none has; each has one reservation, and its movements."""
    moved: dict[int, list[tuple[int, str, int]]] = {}
    for product_id, movements in evidence.state.movements.items():
        for movement in movements:
            moved.setdefault(movement["orderId"], []).append((product_id, movement["kind"], movement["delta"]))
    for order in evidence.state.orders.values():
        lines = pieces(order)
        taken = [(product_id, "reserve", -quantity) for product_id, quantity in lines.items()]
        returned = [(product_id, "release", quantity) for product_id, quantity in lines.items()]
        known = {"nothing": [], "taken": sorted(taken), "returned": sorted(taken + returned)}
        found, rows = sorted(moved.get(order["id"], ())), evidence.state.reservations.get(order["id"], ())
        with_stock = [name for name, movements in known.items() if movements == found]
        is_whole = [(row["product_id"], row["quantity"]) for row in rows] == list(lines.items())
        outcomes = {(row["outcome"], row["held"]) for row in rows} if is_whole else ()
        allowed = _WHOLE.get(order["status"])  # None while it is pending
        if allowed and [*itertools.product(with_stock, outcomes)] not in [[each] for each in allowed]:
            yield _of(order, Breach.WHOLE, f"its movements are {found}, its reservations {rows}")


def orders_go_on_beside_a_lock(evidence: Evidence) -> Iterator[Difference]:
    """While a row is locked, and nothing else is broken, orders that do not need it are done or rejected in time."""
    for fault, began, ended in evidence.alone(Kind.LOCK):
        for order_id, (operation, accepted) in evidence.acceptances.items():
            order = evidence.state.orders.get(order_id)
            # The first product is locked.
            needs_it = fault.target == "products-db" and any(product == 0 for product, _ in operation.lines)
            # The time of the last change is not that of the decision where a client or a hold has ended it.
            if order is None or order["status"] == "cancelled" or order["expiresAt"] or needs_it:
                continue
            if began + _LOCKED < accepted.ended < ended - _PROMPT:
                final = time_of(order["updatedAt"]) - evidence.record.began
                if final - accepted.ended > _PROMPT:
                    yield _of(order, Breach.HELD_UP, f"accepted at {accepted.ended:.2f} s, final at {final:.2f} s")


def answers_on_orders_are_kept(evidence: Evidence) -> Iterator[Difference]:
    """An order is cancelled or confirmed exactly where a 200 said so or a failed answer left it open.

    After a 409 it is what the code says.
    """
    for order in evidence.state.orders.values():
        status, order_id = order["status"], order["id"]
        if status == "cancelled" and not evidence.may_be_done("cancel", order_id):
            yield _of(order, Breach.CANCELLED, "no answer said so")
        if status == "done" and order["expiresAt"] and not evidence.may_be_done("confirm", order_id):
            yield _of(order, Breach.HOLD, "nobody has confirmed it")
        for (action, code), allowed in _AFTER.items():
            # A hold that was over on a clock that had jumped ahead may go on.
            if code == Code.EXPIRED and evidence.has_fault(Kind.CLOCK, "orders-db"):
                continue
            for attempt in evidence.asked(action, order_id):
                if attempt.is_certain and attempt.code == code and status not in allowed:
                    kind = Breach.CANCELLED if action == "cancel" else Breach.HOLD
                    yield _of(order, kind, f"its {action} was answered {attempt.status} {code or ''}", attempt)


def holds_last(evidence: Evidence) -> Iterator[Difference]:
    """A hold lasts as long as was asked, when the order was placed or extended, and expires no sooner."""
    for order in evidence.state.orders.values():
        if order["expiresAt"] is None:
            continue
        end = time_of(order["expiresAt"])
        request, _ = evidence.creations.get(order["traceId"], (None, None))
        is_extended = evidence.may_be_done("extend", order["id"])
        if request and not is_extended and end != time_of(order["createdAt"]) + request.operation.hold:
            yield _of(order, Breach.HOLD, f"from {order['createdAt']} it was held until {order['expiresAt']}")
        if order["status"] == "expired" and time_of(order["updatedAt"]) < end:
            yield _of(order, Breach.HOLD, f"it expired at {order['updatedAt']}, not at {order['expiresAt']}")
        for attempt in evidence.asked("extend", order["id"]):
            if attempt.succeeded and end < time_of(attempt.data["expiresAt"]):
                yield _of(order, Breach.HOLD, f"{attempt.data['expiresAt']} became {order['expiresAt']}", attempt)


def stock_adds_up(evidence: Evidence) -> Iterator[Difference]:
    """Stock is what was entered and corrected less the pieces of orders that are done or held, never below zero."""
    for index, product_id in enumerate(evidence.record.products):
        entered = evidence.plan.products[index].qty
        movements = evidence.state.movements.get(product_id, ())
        taken = Counter[str]()
        for order in evidence.orders_of_product.get(product_id, ()):
            taken[order["status"]] += pieces(order)[product_id]
        corrected = sum(movement["delta"] for movement in movements if movement["kind"] == "adjustment")
        product = evidence.state.products.get(product_id, {})
        found, sold, held = product.get("qty"), taken["done"], taken["held"]
        if (found, product.get("held")) != (entered + corrected - sold - held, held):
            text = (
                f"{found} and {product.get('held')} held, but {entered} entered, {corrected:+} corrected, {sold} sold"
            )
            yield Difference(Breach.STOCK, f"product {product_id}: {text}, {held} held")
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


STORED_RULES: Rules = (
    nothing_accepted_is_lost,
    nothing_is_done_twice,
    nothing_is_made_up,
    references_are_of_one_order,
    prices_are_true,
    orders_finish,
    orders_are_whole,
    answers_on_orders_are_kept,
    holds_last,
    stock_adds_up,
    adjustments_happen_once,
    reprices_happen_once,
    nothing_is_left_over,
    dead_letters_are_explained,
)
RULES: Rules = (
    *STORED_RULES,
    orders_go_on_beside_a_lock,
    answers.replicas_show_what_is_stored,
    answers.requests_are_answered,
    answers.answers_have_envelope_and_cause,
    answers.own_prices_are_seen,
    answers.own_orders_are_seen,
)
RESTORED_RULES: Rules = (
    nothing_is_made_up,
    prices_are_true,
    orders_finish,
    stock_adds_up,
    nothing_is_left_over,
    dead_letters_are_explained,
    answers.requests_are_answered,
)


def _unaltered(evidence: Evidence, request: Outcome, attempt: Attempt, order_id: int) -> Iterator[Difference]:
    order = evidence.state.orders.get(order_id)
    if order is None:
        text = f"order {order_id} was answered 201 at {attempt.ended:.2f} s and does not exist"
        yield Difference(Breach.LOST, text, attempt.trace_id, order_id)
        return
    # A repeat under a key is answered with the order as it was placed too.
    placed = {**order, "status": "pending", "reason": None, "shortages": [], "updatedAt": order["createdAt"]}
    if evidence.may_be_done("extend", order_id):
        placed["expiresAt"] = attempt.data["expiresAt"]  # `holds_last` judges it
    if attempt.data != placed or order["traceId"] not in {each.trace_id for each in request.attempts}:
        yield Difference(Breach.ALTERED, f"answered {attempt.data}, now {order}", attempt.trace_id, order_id)


def _levels(evidence: Evidence, product_id: int) -> Iterator[int]:
    """The stock after each movement, by the movements alone."""
    return itertools.accumulate(movement["delta"] for movement in evidence.state.movements.get(product_id, ()))


def _of(order: Json, kind: Breach, text: str, attempt: Attempt | None = None) -> Difference:
    order_id, lines = order["id"], ", ".join(f"{quantity} of {id_}" for id_, quantity in pieces(order).items())
    trace_id = attempt.trace_id if attempt else order["traceId"]
    named = f"order {order_id} ({order['status']}, {lines})"
    return Difference(kind, f"{named}: {text}", trace_id, order_id)
