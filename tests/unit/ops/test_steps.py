"""What repair does about an order and its reservation."""

from uuid import UUID

import pytest

from ops.differences import Line, Order, Reservation
from ops.steps import Action, Product, Step, next_step

X, Y = UUID(int=1), UUID(int=2)
ORDER = Order(1, (Line(7, 2, X), Line(9, 3, X)), "done", "trace", 90, X)
TAKEN = Reservation(1, (Line(7, 2), Line(9, 3)), "reserved", X)
ENOUGH = {7: Product(7, 2, X), 9: Product(9, 3, X)}
NOTHING = {None: 0}
TAKE, GIVE_BACK = {7: -2, 9: -3}, {7: 2, 9: 3}


def changes(actions: list[Action]) -> dict[int | None, int]:
    return {action.product_id: action.delta for action in actions}


@pytest.mark.parametrize(
    ("status", "outcome", "step", "expected"),
    [
        ("pending", None, Step.ANNOUNCE, NOTHING),
        ("pending", "reserved", Step.ANNOUNCE, NOTHING),
        ("pending", "held", Step.ANNOUNCE, NOTHING),
        ("pending", "rejected", Step.ANNOUNCE, NOTHING),
        ("pending", "released", Step.CANCEL, NOTHING),
        ("held", None, Step.RESERVE, TAKE),
        ("held", "reserved", Step.CONFIRM, NOTHING),
        ("held", "held", None, {}),
        ("held", "rejected", Step.RESERVE, TAKE),
        ("held", "released", Step.CANCEL, NOTHING),
        ("done", None, Step.RESERVE, TAKE),
        ("done", "reserved", None, {}),
        ("done", "held", Step.CONFIRM, NOTHING),
        ("done", "rejected", Step.RESERVE, TAKE),
        ("done", "released", Step.CANCEL, NOTHING),
        ("rejected", None, Step.NOTE, NOTHING),
        ("rejected", "reserved", Step.RELEASE, GIVE_BACK),
        ("rejected", "held", Step.RELEASE, GIVE_BACK),
        ("rejected", "rejected", None, {}),
        ("rejected", "released", None, {}),
        ("cancelled", None, Step.NOTE, NOTHING),
        ("cancelled", "reserved", Step.RELEASE, GIVE_BACK),
        ("cancelled", "held", Step.RELEASE, GIVE_BACK),
        ("cancelled", "rejected", None, {}),
        ("cancelled", "released", None, {}),
        ("expired", None, Step.NOTE, NOTHING),
        ("expired", "reserved", Step.CONFIRM, NOTHING),
        ("expired", "held", Step.RELEASE, GIVE_BACK),
        ("expired", "rejected", None, {}),
        ("expired", "released", None, {}),
        (None, None, None, {}),
        (None, "reserved", Step.RELEASE, GIVE_BACK),
        (None, "held", Step.RELEASE, GIVE_BACK),
        (None, "rejected", None, {}),
        (None, "archived", None, {}),
        ("pending", "archived", Step.LEFT, NOTHING),
        ("done", "archived", Step.LEFT, NOTHING),
        ("cancelled", "archived", Step.LEFT, NOTHING),
        ("archived", "archived", None, {}),
        ("archived", "reserved", None, {}),
        ("archived", "held", Step.LEFT, NOTHING),
        ("archived", None, Step.LEFT, NOTHING),
        (None, "released", None, {}),
    ],
)
def test_each_state_has_its_step(
    status: str | None, outcome: str | None, step: Step | None, expected: dict[int | None, int]
) -> None:
    order = ORDER._replace(status=status) if status else None
    actions = next_step(order, TAKEN._replace(outcome=outcome) if outcome else None, ENOUGH, 60)

    assert changes(actions) == expected
    named = {(action.step, action.order_id, action.trace_id) for action in actions}
    assert named == ({(step, 1, status and "trace")} if step else set())


def test_what_changes_no_stock_names_the_product_of_an_order_of_one() -> None:
    one = ORDER._replace(lines=(Line(7, 2),), status="pending")

    [action] = next_step(one, None, ENOUGH, 60)

    assert action == Action(Step.ANNOUNCE, "order pending, no reservation, for 90 s", 1, 7, 0, "trace")


@pytest.mark.parametrize(
    ("status", "outcome"), [("pending", None), ("cancelled", None), ("expired", "reserved"), ("done", "held")]
)
def test_an_order_that_may_still_be_on_its_way_is_left_alone(status: str, outcome: str | None) -> None:
    reservation = TAKEN._replace(outcome=outcome) if outcome else None
    assert next_step(ORDER._replace(status=status, seconds=60), reservation, ENOUGH, 60) == []


@pytest.mark.parametrize(
    ("product", "why"),
    [
        (None, "its product is lost"),
        (Product(9, 9, Y), "its product is lost"),
        (Product(9, 2, X), "needs 3, 2 in stock"),
    ],
)
def test_an_order_of_which_a_line_cannot_have_its_stock_is_oversold(product: Product | None, why: str) -> None:
    others = {7: ENOUGH[7]}
    found = next_step(ORDER, None, others | {9: product} if product else others, 60)

    oversold = Action(Step.OVERSOLD, f"order done, no reservation, {why}", 1, 9, 0, "trace")
    assert found == [oversold]


def test_each_line_that_is_oversold_is_named() -> None:
    found = next_step(ORDER, None, {}, 60)
    assert [(action.step, action.product_id) for action in found] == [(Step.OVERSOLD, 7), (Step.OVERSOLD, 9)]


@pytest.mark.parametrize("product", [Product(7, 2), Product(7, 2, Y)])
def test_an_order_of_an_older_release_names_no_identity_of_its_product(product: Product) -> None:
    actions = next_step(ORDER._replace(lines=(Line(7, 2),)), None, {7: product}, 60)
    assert [action.step for action in actions] == [Step.RESERVE]


@pytest.mark.parametrize("outcome", ["reserved", "held", "rejected", "released"])
@pytest.mark.parametrize("other", [TAKEN._replace(uid=Y), TAKEN._replace(lines=(Line(7, 2), Line(9, 4)))])
@pytest.mark.parametrize("status", ["pending", "held", "done", "rejected", "cancelled", "expired"])
def test_the_reservation_of_a_lost_order_leaves_the_number(status: str, other: Reservation, outcome: str) -> None:
    young = ORDER._replace(status=status, seconds=0)
    actions = next_step(young, other._replace(outcome=outcome), ENOUGH, 60)

    back = {line.product_id: line.quantity for line in other.lines}
    assert changes(actions) == (back if outcome in {"reserved", "held"} else NOTHING)
    why = f"reservation {outcome}, its order is lost"
    assert {(each.step, each.why, each.order_id, each.trace_id) for each in actions} == {(Step.MOVE, why, 1, "trace")}
