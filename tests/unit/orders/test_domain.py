from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from orders.domain import Verdict, first_verdicts

VERDICTS = st.builds(
    Verdict,
    order_id=st.integers(1, 5),
    order_uid=st.none() | st.sampled_from([str(UUID(int=1)), str(UUID(int=2))]),
    product_id=st.just(3),
    product_ids=st.just([3]),
    status=st.sampled_from(["done", "rejected"]),
    reason=st.none() | st.just("insufficient_stock"),
    shortages=st.none(),
    trace_id=st.none(),
)


@given(st.lists(VERDICTS, max_size=12))
def test_the_first_verdict_of_each_order_counts(verdicts: list[Verdict]) -> None:
    orders = [(verdict.order_id, verdict.order_uid) for verdict in verdicts]
    expected = [verdicts[orders.index(order)] for order in dict.fromkeys(orders)]
    found = first_verdicts(verdicts)
    assert sorted(expected, key=repr) == sorted(found, key=repr)
    assert [verdict.order_id for verdict in found] == sorted(verdict.order_id for verdict in found)
