"""How long nobody could order is measured between answers to orders that became done."""

from collections.abc import Callable

import pytest

from tests.unit.faults.world import World
from tools.cluster.gaps import Played, story, table
from tools.cluster.plan import Fault, Kind
from tools.faults.evidence import Breach, Difference
from tools.faults.plan import Product

KILL, FREEZE, ROLL = Fault(Kind.KILL, "orders-1"), Fault(Kind.FREEZE, "orders-2"), Fault(Kind.ROLL, "services")
LOST = Difference(Breach.LOST, "an order")


def played(*steps: Callable[[World], None], fault: Fault = KILL, began: float = 0.0) -> Played:
    """Each step begins a second after the end of the one before, a repeat at once, and takes half a second."""
    world = World(Product("1.00", 10))
    for step in steps:
        step(world)
    return Played(fault, world.record, began, orders=world.orders)


def done(world: World) -> None:
    world.order(0, 1, key="key")


def rejected(world: World) -> None:
    world.order(0, 100)


def refused(world: World) -> None:
    world.refuse("order", 0, 503)


def unanswered(world: World) -> None:
    world.refuse("order", 0, 502)


def repeated(world: World) -> None:
    world.repeat(0)


@pytest.mark.parametrize(
    ("steps", "began", "gap"),
    [
        pytest.param((done, done, done), 0.0, 1.5, id="between two orders"),
        pytest.param((done, rejected, done), 0.0, 3.0, id="an order that is rejected is none"),
        pytest.param((done, done, repeated, refused, done), 0.0, 3.5, id="a repeat is none"),
        pytest.param((done, refused, done, done), 5.0, 1.5, id="before the fault"),
        pytest.param((done, refused, done, done), 4.4, 3.0, id="begun before the fault"),
        pytest.param((done, refused, refused, refused), 2.0, 4.0, id="that never ends, until the last request"),
        pytest.param((), 3.0, 3.0, id="no order at all"),
    ],
)
def test_the_gap_is_the_longest_time_between_orders(
    steps: tuple[Callable[[World], None], ...], began: float, gap: float
) -> None:
    assert played(*steps, began=began).gap == pytest.approx(gap)


@pytest.mark.parametrize(
    ("steps", "fault", "differences", "breaches"),
    [
        pytest.param((done, refused, done), ROLL, [], [], id="a request that was put off"),
        pytest.param((done, unanswered, done), KILL, [], [], id="a request that failed while something was dead"),
        pytest.param(
            (done, unanswered, done),
            ROLL,
            [],
            ["1 requests failed: 502 upstream_error"],
            id="and in a rolling restart",
        ),
        pytest.param((refused,) * 21, KILL, [], ["31.0 s without an order, not 30 s"], id="too long after a kill"),
        pytest.param((refused,) * 21, FREEZE, [], [], id="but not after a freeze"),
        pytest.param((done,), KILL, [LOST], [str(LOST)], id="a lost order"),
    ],
)
def test_a_promise_that_is_not_kept_is_a_breach(
    steps: tuple[Callable[[World], None], ...], fault: Fault, differences: list[Difference], breaches: list[str]
) -> None:
    found = played(*steps, fault=fault)
    found.differences += differences
    assert list(found.breaches) == breaches
    assert [line.strip() for line in story(found).splitlines()[1:]] == breaches


def test_nodes_and_queues_of_a_sort_are_one_row_with_the_worst_of_them() -> None:
    first, second = played(done, done), played(done, refused, unanswered, done, fault=Fault(Kind.KILL, "orders-2"))
    leaders = [played(fault=Fault(Kind.KILL, f"leader of {queue}")) for queue in ("orders.stock", "products.orders")]
    first.healthy, second.healthy = 7.0, 3.0

    rows = table([*leaders, first, second]).splitlines()[2:]

    assert [row.split(" | ")[1:3] for row in rows] == [["leader of a queue", "2"], ["orders", "2"]]
    assert rows[1] == "| node killed | orders | 2 | 4.5 s | 30.0 s | 0.5 s | 7.0 s | 6 | 1 | 1 |"
