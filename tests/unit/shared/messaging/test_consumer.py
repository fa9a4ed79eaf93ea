import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.messaging.consumer import Acknowledgements


def test_a_batch_in_order_is_acknowledged_up_to_its_last() -> None:
    acknowledgements = Acknowledgements()
    assert [acknowledgements.settle([1, 2, 3]), acknowledgements.settle([4])] == [3, 4]


def test_an_open_delivery_holds_back_those_behind_it() -> None:
    acknowledgements = Acknowledgements()
    assert acknowledgements.settle([2, 3]) is None
    assert acknowledgements.settle([1]) == 3


def test_nothing_settled_is_nothing_acknowledged() -> None:
    assert Acknowledgements().settle([]) is None


@given(st.permutations(range(1, 13)), st.lists(st.integers(1, 4), max_size=12))
def test_no_acknowledgement_covers_an_open_delivery(tags: list[int], sizes: list[int]) -> None:
    acknowledgements = Acknowledgements()
    settled: set[int] = set()
    last = 0
    for size in [*sizes, len(tags)]:
        batch, tags = tags[:size], tags[size:]
        settled.update(batch)
        tag = acknowledgements.settle(batch)
        if tag is not None:
            assert tag > last
            assert settled >= set(range(1, tag + 1))
            last = tag
    assert last == 12


@pytest.mark.parametrize("count", [1, 1_000])
def test_settled_deliveries_are_forgotten(count: int) -> None:
    acknowledgements = Acknowledgements()
    for tag in range(1, count + 1):
        acknowledgements.settle([tag])
    assert Acknowledgements(acked=count) == acknowledgements
