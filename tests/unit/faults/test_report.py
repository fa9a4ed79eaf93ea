from tests.unit.faults.test_verdict import good
from tools.faults.__main__ import status
from tools.faults.evidence import Breach, Difference
from tools.faults.injection import Outages
from tools.faults.plan import Fault, Kind
from tools.faults.report import story, table
from tools.faults.round import Round

CUT = Fault(0.0, 1.0, Kind.CUT, "orders-2>orders-db")
KILL = Fault(2.0, 1.0, Kind.KILL, "orders-1")
JUMP = Fault(1000.0, 1.0, Kind.CLOCK, "orders-db", -1200)


def played(*differences: Difference) -> Round:
    world = good()
    world.faults.extend([CUT, KILL, JUMP])
    record = world.record
    return Round(record.plan, record, Outages({CUT: 0.5, KILL: 1.0, JUMP: 3.0}), list(differences))


def test_a_story_has_the_plan_what_was_found_and_the_log_lines() -> None:
    found = [Difference(Breach.LOST, f"order {number}", f"{9:016x}{0:016x}") for number in range(25)]
    clean, bad = played(), played(*found)
    bad.stories[found[0]] = ["a log line"]

    assert "   2.0 s: kill orders-1 for 1.0 s\n1000.0 s: clock jump orders-db by -1200 s for 1.0 s" in story(clean)
    assert story(clean).endswith("ready again after 3.0 s at most\n  nothing lost, doubled or oversold")
    assert "accepted order lost: order 19\n  and 5 more\naccepted order lost: order 0\n" in story(bad)
    assert "action='read'" in story(bad)
    assert story(bad).endswith("a log line")


def test_replicas_and_links_of_a_sort_are_one_line() -> None:
    lines = table([played(), played(Difference(Breach.LOST, "an order"))]).splitlines()

    assert lines[0].startswith("2 rounds, 6 faults, ")
    assert lines[0].endswith("; 1 differences")
    assert lines[5].startswith("| cut | orders → orders-db | 2 | ")
    assert lines[5].endswith("| 0.5 s | 0.5 s |")


def test_a_fault_counts_the_requests_that_it_met() -> None:
    clean = played()
    last = max((attempt for _, attempt in clean.record.attempts()), key=lambda attempt: attempt.ended)
    clean.record.lasted[CUT] = last.began, last.ended

    assert f"| cut | orders → orders-db | 1 | 1 | {0 if last.is_certain else 1} |" in table([clean])


def test_only_rounds_that_were_played_and_found_nothing_are_a_success() -> None:
    found = played(Difference(Breach.LOST, "an order"))
    assert [status([]), status([played()]), status([played(), found])] == [1, 0, 1]
