from hypothesis import given
from hypothesis import strategies as st

from shared.shares import Shares


def filled(shares: Shares, client: str | None, amount: int = 1) -> int:
    """How much the client gets that takes as much as it may."""
    taken = 0
    while shares.take(client, amount):
        taken += amount
    return taken


def test_one_client_alone_gets_four_fifths_and_each_that_comes_later_a_share() -> None:
    shares = Shares(1_000)
    assert [filled(shares, client) for client in ("a", "b", "c", "d")] == [800, 160, 32, 7]
    assert filled(shares, "a") == 0
    assert shares.take("e")


def test_those_that_want_everything_end_with_equal_shares_of_what_is_given_back() -> None:
    shares, held = Shares(1_000), dict.fromkeys("abcd", 0)
    for _ in range(2_000):
        for client in held:
            held[client] += shares.take(client)
        greediest = max(held, key=held.__getitem__)
        shares.give_back(greediest)
        held[greediest] -= 1
    assert max(held.values()) - min(held.values()) <= 2
    assert shares.left > 50


def test_many_clients_behind_one_name_may_take_all_that_is_left() -> None:
    shares = Shares(10)
    assert (filled(shares, "a"), filled(shares, None)) == (8, 2)


def test_what_is_larger_than_what_is_left_does_not_fit() -> None:
    shares = Shares(10)
    assert (filled(shares, "a", 6), filled(shares, "b", 6), filled(shares, "b", 4)) == (6, 0, 4)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.integers(1, 40)), max_size=60), st.data())
def test_no_more_is_held_than_there_is_and_all_of_it_comes_back(
    wishes: list[tuple[str | None, int]], data: st.DataObject
) -> None:
    shares, held = Shares(100), list[tuple[str | None, int]]()
    for wish in wishes:
        if shares.take(*wish):
            held.append(wish)
        elif held:
            shares.give_back(*held.pop(data.draw(st.integers(0, len(held) - 1))))
        assert shares.left == 100 - sum(amount for _, amount in held) >= 0
    for wish in held:
        shares.give_back(*wish)
    assert (shares.left, filled(shares, "a")) == (100, 80)
