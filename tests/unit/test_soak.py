"""When a soak says that something grows with the orders, and how it shows it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools import usage
from tools.bench import soak, soak_report
from tools.bench.curves import COLUMNS, HEIGHT, WIDTH, Panel, curves
from tools.bench.samples import Kind, Sample, as_line, parse
from tools.bench.trends import ROOM, SHARE, WARM_UP, Point, trend, trends
from tools.stack.errors import StackError

ORDERS = 1_000_000
KINDS = st.sampled_from(list(ROOM))
LEVELS = st.floats(0, 1e9)
FIGURES = st.dictionaries(
    st.sampled_from(Kind), st.dictionaries(st.text(), st.floats(0, 2**50), min_size=1), min_size=1
)
# A child that holds two more files than any Python does, says so, and waits for its input to end.
CHILD = "import os, sys\nheld = [open(os.devnull) for _ in '12']\nprint('open', flush=True)\nsys.stdin.read()"


def sampled(values: Sequence[float]) -> list[Point]:
    """At even distances until the last of all orders."""
    return [(ORDERS * number / (len(values) - 1), value) for number, value in enumerate(values)]


def risen(level: float, rise: float, count: int = 51) -> list[Point]:
    """A straight line that gains `rise` between the end of the warm-up and the end."""
    return sampled([level + rise * number / (count - 1) / (1 - WARM_UP) for number in range(count)])


@given(KINDS, LEVELS, st.floats(-1e9, 1e9))
def test_the_slope_of_a_line_is_found(kind: Kind, level: float, rise: float) -> None:
    found = trend(kind, "orders", risen(level, rise))
    assert found.rise == pytest.approx(rise, rel=1e-6, abs=1e-3)
    assert found.slope * (1 - WARM_UP) * ORDERS == pytest.approx(rise, rel=1e-6, abs=1e-3)


@given(KINDS, LEVELS)
def test_a_leak_is_not_flat_at_any_level(kind: Kind, level: float) -> None:
    leak = 1.1 * max(ROOM[kind], SHARE * level / (1 - SHARE))
    assert trend(kind, "orders", risen(level, leak)).is_flat is False


@given(KINDS, LEVELS, st.data())
def test_noise_is_flat(kind: Kind, level: float, data: st.DataObject) -> None:
    # Half of the samples low and half high, the worst order of all, makes a line that rises by three times the noise.
    noise = st.lists(st.floats(-ROOM[kind] / 3.1, ROOM[kind] / 3.1), min_size=20, max_size=100)
    assert trend(kind, "orders", sampled([level + value for value in data.draw(noise)])).is_flat


@given(KINDS, LEVELS, LEVELS)
def test_what_falls_is_flat(kind: Kind, level: float, fall: float) -> None:
    assert trend(kind, "orders", risen(level, -fall)).is_flat


@given(KINDS, LEVELS, st.lists(LEVELS, min_size=2, max_size=2))
def test_the_warm_up_may_do_what_it_likes(kind: Kind, level: float, before: list[float]) -> None:
    found = trend(kind, "orders", sampled([*before, *[level] * 19]))
    assert (found.start, found.warm, found.end) == (before[0], level, level)
    assert found.rise == pytest.approx(0)


def test_what_grows_by_design_has_no_verdict() -> None:
    assert trend(Kind.TABLE_SIZE, "orders-db orders", risen(0, 2**40)).is_flat is None


@pytest.mark.parametrize("orders", [[], [0], [0, 1_000], [0, 500, 1_000], [1_000, 1_000, 1_000]])
def test_a_few_samples_say_nothing(orders: list[int]) -> None:
    with pytest.raises(StackError, match="say nothing"):
        trends([Sample(0, order, {Kind.MEMORY: {"orders": 1}}) for order in orders])


@given(st.integers(0, 10**9), FIGURES)
def test_samples_survive_their_file(orders: int, figures: dict[Kind, dict[str, float]]) -> None:
    sample = Sample(1.5, orders, figures)
    line = as_line(sample)
    assert "\n" not in line
    assert parse(line) == sample


@pytest.fixture
def child() -> Iterator[int]:
    with subprocess.Popen(  # noqa: S603  # the command is built from constants
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid


def open_files(pid: int) -> int:
    return usage.of_trees({"it": pid})["it"].open_files


def test_open_files_are_those_of_a_whole_tree(child: int) -> None:
    own = len(list(Path(f"/proc/{os.getpid()}/fd").iterdir())) - 1  # without that of the folder itself
    assert open_files(child) >= 5
    assert open_files(os.getpid()) >= own + open_files(child)


def test_a_process_that_is_gone_has_no_open_files() -> None:
    with subprocess.Popen(["true"]) as process:  # noqa: S607  # found on PATH anywhere
        pass
    assert open_files(process.pid) == 0


POINTS = st.lists(st.tuples(st.integers(0, ORDERS), st.floats(0, 1e12)), min_size=1, max_size=20)


def groups_of(chart: ElementTree.Element) -> list[ElementTree.Element]:
    return [element for element in chart if element.tag.endswith("}g")]


def corners_of(group: ElementTree.Element) -> list[tuple[float, float]]:
    """Of the curve, which is what a panel draws last."""
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", group[-1].attrib["d"])]


@given(st.lists(st.builds(Panel, st.text("a<&\"'"), st.text("é>"), POINTS, st.booleans()), min_size=1, max_size=9))
def test_curves_stay_in_their_panels(panels: list[Panel]) -> None:
    chart = ElementTree.fromstring(curves("A & B", panels, mark=0))  # noqa: S314  # it is our own
    groups = groups_of(chart)
    assert [group[0].text or "" for group in groups] == [panel.title for panel in panels]
    for group, panel in zip(groups, panels, strict=True):
        corners = corners_of(group)
        assert len(corners) == len(panel.points)
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in corners)
    _, _, width, height = map(int, chart.attrib["viewBox"].split())
    assert (width, height) >= (COLUMNS * WIDTH, -(-len(panels) // COLUMNS) * HEIGHT)


def test_a_curve_is_drawn_from_zero_to_its_highest() -> None:
    panel = Panel("memory", "", [(0, 0), (50, 5), (100, 10)])
    chart = ElementTree.fromstring(curves("", [panel], mark=10))  # noqa: S314  # it is our own
    (left, bottom), (middle, half), (right, top) = corners_of(groups_of(chart)[0])
    assert (left, middle) == (0, right / 2)
    assert bottom > half > top
    assert half == pytest.approx((bottom + top) / 2)


def run_of(memory: float) -> list[Sample]:
    """Whose order service gains so many bytes an order."""
    orders = range(0, ORDERS + 1, ORDERS // 20)
    return [
        Sample(
            seconds=number / 1_000,
            orders=number,
            figures={
                Kind.MEMORY: {"orders": 50 * 2**20 + number * memory, "gateway": 40 * 2**20},
                Kind.TABLE_SIZE: {"orders-db orders": number * 300},
                Kind.AUTOVACUUMS: {"orders-db outbox": number // 90_000},
            },
        )
        for number in orders
    ]


def test_the_table_names_what_grows() -> None:
    head, *rows = soak_report.as_text(trends(run_of(memory=20))).splitlines()
    assert head.split() == ["start", "warm", "end", "highest", "per", "100,000", "rise"]
    assert " ".join(rows[0].split()) == "memory, orders, MiB 50.0 51.9 69.1 69.1 +1.9 +17.2 NOT FLAT"
    assert " ".join(rows[1].split()) == "memory, gateway, MiB 40.0 40.0 40.0 40.0 +0.0 +0.0 flat"
    assert rows[2].endswith("300 bytes an order")
    assert rows[-1] == "not flat: memory of orders"


def test_a_flat_run_says_so() -> None:
    assert soak_report.as_text(trends(run_of(memory=0))).endswith("\nall that must not grow is flat")


@pytest.mark.parametrize(("memory", "status", "colour"), [(0, 0, "#2f6f9f"), (20, 1, "#b23b3b")])
def test_an_earlier_run_is_judged_again(tmp_path: Path, memory: float, status: int, colour: str) -> None:
    samples, chart = tmp_path / "soak.jsonl", tmp_path / "soak.svg"
    samples.write_text("".join(f"{as_line(sample)}\n" for sample in run_of(memory)))
    assert soak.main(["--again", str(samples), "--chart", str(chart)]) == status
    first_curve = chart.read_text().split('fill="none" ')[1]
    assert first_curve.startswith(f'stroke="{colour}"')


@pytest.mark.parametrize("content", ["", "no JSON\n", '{"seconds": 1}\n', '{"seconds": 1, "orders": 2, "mood": {}}\n'])
def test_a_file_without_samples_is_refused(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    samples = tmp_path / "soak.jsonl"
    samples.write_text(content)
    assert soak.main(["--again", str(samples)]) == 1
    assert "samples" in capsys.readouterr().err
