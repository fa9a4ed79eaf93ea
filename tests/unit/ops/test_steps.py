"""What repair does about an order and its reservation."""

from uuid import UUID

import pytest

from ops.differences import Order, Reservation
from ops.steps import Action, Product, Step, next_action

X, Y = UUID(int=1), UUID(int=2)
ORDER = Order(1, 7, 2, "done", "trace", 90, X, X)
TAKEN = Reservation(1, 7, 2, "reserved", X)
ENOUGH = Product(7, 2, X)


@pytest.mark.parametrize(
    ("status", "outcome", "step", "delta"),
    [
        ("pending", None, Step.ANNOUNCE, 0),
        ("pending", "reserved", Step.ANNOUNCE, 0),
        ("pending", "rejected", Step.ANNOUNCE, 0),
        ("pending", "released", Step.CANCEL, 0),
        ("done", None, Step.RESERVE, -2),
        ("done", "reserved", None, 0),
        ("done", "rejected", Step.RESERVE, -2),
        ("done", "released", Step.CANCEL, 0),
        ("rejected", None, Step.NOTE, 0),
        ("rejected", "reserved", Step.RELEASE, 2),
        ("rejected", "rejected", None, 0),
        ("rejected", "released", None, 0),
        ("cancelled", None, Step.NOTE, 0),
        ("cancelled", "reserved", Step.RELEASE, 2),
        ("cancelled", "rejected", None, 0),
        ("cancelled", "released", None, 0),
        (None, None, None, 0),
        (None, "reserved", Step.RELEASE, 2),
        (None, "rejected", None, 0),
        (None, "released", None, 0),
    ],
)
def test_each_state_has_its_step(status: str | None, outcome: str | None, step: Step | None, delta: int) -> None:
    order = ORDER._replace(status=status) if status else None
    action = next_action(order, TAKEN._replace(outcome=outcome) if outcome else None, ENOUGH, 60)

    assert (action and (action.step, action.delta)) == (step and (step, delta))
    if action:
        assert (action.order_id, action.product_id, action.trace_id) == (1, 7, status and "trace")


@pytest.mark.parametrize("status", ["pending", "cancelled"])
def test_an_order_that_may_still_be_on_its_way_is_left_alone(status: str) -> None:
    assert next_action(ORDER._replace(status=status, seconds=60), None, ENOUGH, 60) is None


@pytest.mark.parametrize(
    ("product", "why"),
    [
        (None, "its product is lost"),
        (Product(7, 9, Y), "its product is lost"),
        (Product(7, 1, X), "needs 2, 1 in stock"),
    ],
)
def test_an_order_that_cannot_have_its_stock_is_oversold(product: Product | None, why: str) -> None:
    expected = Action(Step.OVERSOLD, f"order done, no reservation, {why}", 1, 7, 0, "trace")
    assert next_action(ORDER, None, product, 60) == expected


@pytest.mark.parametrize("product", [Product(7, 2), Product(7, 2, Y)])
def test_an_order_of_an_older_release_names_no_identity_of_its_product(product: Product) -> None:
    action = next_action(ORDER._replace(product_uid=None), None, product, 60)
    assert action is not None
    assert action.step is Step.RESERVE


@pytest.mark.parametrize("outcome", ["reserved", "rejected", "released"])
@pytest.mark.parametrize("other", [TAKEN._replace(uid=Y), TAKEN._replace(quantity=5), TAKEN._replace(product_id=8)])
@pytest.mark.parametrize("status", ["pending", "done", "rejected", "cancelled"])
def test_the_reservation_of_a_lost_order_leaves_the_number(status: str, other: Reservation, outcome: str) -> None:
    young = ORDER._replace(status=status, seconds=0)
    action = next_action(young, other._replace(outcome=outcome), ENOUGH, 60)

    why = f"reservation {outcome}, its order is lost"
    back = other.quantity if outcome == "reserved" else 0
    assert action == Action(Step.MOVE, why, 1, other.product_id, back, "trace")
