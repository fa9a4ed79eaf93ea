import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.messaging.consumer import Acknowledgements


@given(st.permutations(range(1, 13)), st.lists(st.integers(0, 4), max_size=12))
@example([1, 2, 3, 4], [3])
@example([2, 3, 1], [2])
def test_every_delivery_is_acknowledged_as_soon_as_none_before_it_is_open(tags: list[int], sizes: list[int]) -> None:
    acknowledgements = Acknowledgements()
    settled: set[int] = set()
    last = 0
    for size in [*sizes, len(tags)]:
        batch, tags = tags[:size], tags[size:]
        settled.update(batch)
        covered = last
        while covered + 1 in settled:
            covered += 1
        assert acknowledgements.settle(batch) == (covered if covered > last else None)
        last = covered
    assert tags == []


@pytest.mark.parametrize("count", [1, 1_000])
def test_settled_deliveries_are_forgotten(count: int) -> None:
    acknowledgements = Acknowledgements()
    for tag in range(1, count + 1):
        acknowledgements.settle([tag])
    assert Acknowledgements(acked=count) == acknowledgements
