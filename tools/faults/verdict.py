"""Whether a round kept every promise: what clients saw against what is in the databases, queues and caches."""

from collections.abc import Callable, Iterator

from tools.faults.difference import Difference
from tools.faults.evidence import Evidence
from tools.faults.plan import Plan
from tools.faults.record import Record
from tools.faults.rules import answers, delivery, orders, stock, views
from tools.faults.state import State

Rule = Callable[[Evidence], Iterator[Difference]]

RULES: tuple[Rule, ...] = (
    orders.nothing_accepted_is_lost,
    orders.nothing_is_done_twice,
    orders.nothing_is_made_up,
    orders.prices_are_true,
    orders.orders_finish,
    orders.rejections_have_a_cause,
    orders.cancellations_are_kept,
    orders.histories_are_complete,
    stock.stock_adds_up,
    stock.stock_begins_as_entered,
    stock.stock_is_never_below_zero,
    stock.orders_move_stock_once,
    stock.reservations_agree,
    stock.adjustments_happen_once,
    stock.reprices_happen_once,
    delivery.outboxes_are_empty,
    delivery.queues_are_empty,
    delivery.no_event_is_given_up,
    views.caches_agree,
    views.cached_values_expire,
    views.replicas_agree,
    views.own_prices_are_seen,
    views.own_orders_are_seen,
    answers.everybody_is_answered,
    answers.answers_have_their_envelope,
    answers.answers_have_a_cause,
)


def judge(plan: Plan, record: Record, state: State) -> list[Difference]:
    """Every promise that was not kept."""
    evidence = Evidence(plan, record, state)
    return [difference for rule in RULES for difference in rule(evidence)]
