from tests.unit.faults.breaking import good
from tools.faults.__main__ import status
from tools.faults.difference import Breach, Difference
from tools.faults.outage import Outages
from tools.faults.plan import Fault, Kind
from tools.faults.report import story, table
from tools.faults.round import Round

CUT = Fault(0.0, 1.0, Kind.CUT, "orders-2>orders-db")
KILL = Fault(2.0, 1.0, Kind.KILL, "orders-1")
LATER = Fault(1000.0, 1.0, Kind.KILL, "orders-2")


def played(*differences: Difference) -> Round:
    world = good()
    world.faults.extend([CUT, KILL, LATER])
    return Round(world.plan, world.record, Outages({CUT: 0.5, KILL: 1.0, LATER: 3.0}), list(differences))


def test_a_clean_round() -> None:
    told = story(played())
    assert "cut orders-2>orders-db" in told
    assert "ready again after 3.0 s at most" in told
    assert told.endswith("nothing lost, doubled or oversold")


def test_what_was_found_is_told_but_not_a_thousand_times() -> None:
    found = [Difference(Breach.LOST, f"order {number}") for number in range(25)]
    told = story(played(*found))
    assert "accepted order lost: order 19" in told
    assert "order 20" not in told
    assert told.endswith("and 5 more")


def test_replicas_and_links_of_a_sort_are_one_line() -> None:
    lines = table([played(), played(Difference(Breach.LOST, "an order"))]).splitlines()
    assert lines[0].startswith("2 rounds, 6 faults, ")
    assert lines[0].endswith("; 1 differences")
    [cut, kill] = lines[4:]
    assert cut.startswith("| cut | orders → orders-db | 2 | ")
    assert cut.endswith("| 0.5 s | 0.5 s |")
    assert kill.startswith("| kill | orders | 4 | ")
    assert kill.endswith("| 2.0 s | 3.0 s |")


def test_a_fault_counts_the_requests_that_it_met() -> None:
    clean = played()
    attempts = [attempt for outcome in clean.record.outcomes for attempt in outcome.attempts]
    last = max(attempts, key=lambda attempt: attempt.ended)
    clean.record.broken[CUT] = last.began, last.ended

    assert f"| cut | orders → orders-db | 1 | 1 | {0 if last.is_certain else 1} |" in table([clean])


def test_only_rounds_that_were_played_and_found_nothing_are_a_success() -> None:
    found = played(Difference(Breach.LOST, "an order"))
    assert [status([]), status([played()]), status([played(), found])] == [1, 0, 1]
