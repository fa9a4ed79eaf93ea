from itertools import islice

from tools.cluster.plan import Kind, draw


def test_every_way_comes_once_before_any_comes_again_in_an_order_of_its_seed() -> None:
    first, second = (list(islice(draw(seed, set(Kind)), 200)) for seed in (1, 2))
    turns = [[(fault.kind, fault.target.rstrip("-12")) for fault in first[n : n + 20]] for n in (0, 20)]

    assert list(islice(draw(1, set(Kind)), 200)) == first != second
    assert {kind for kind, _ in turns[0]} == set(Kind)
    assert sorted(turns[0]) == sorted(turns[1]) != turns[0]


def test_only_what_is_wanted_is_broken() -> None:
    assert {fault.kind for fault in islice(draw(1, {Kind.FREEZE, Kind.CRASH}), 50)} == {Kind.FREEZE, Kind.CRASH}
    assert list(draw(1, ())) == []
