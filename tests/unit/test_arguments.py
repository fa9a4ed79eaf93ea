"""Numbers on the command lines of the tools: what cannot be meant is wrong usage."""

from collections.abc import Callable, Mapping

import pytest

from tools.bench import __main__ as bench
from tools.bench import overload, pages, soak
from tools.faults import __main__ as faults

OPTIONS: Mapping[str, Callable[[list[str]], object]] = {
    "faults --minutes": faults.parse,
    "faults --rounds": faults.parse,
    "faults --seconds": faults.parse,
    "faults --rate": faults.parse,
    "soak --orders": soak.parse,
    "soak --products": soak.parse,
    "soak --every": soak.parse,
    "bench --seconds": bench.main,
    "bench --orders": bench.main,
    "bench --products": bench.main,
    "overload --seconds": overload.main,
    "pages --few": pages.main,
    "pages --many": pages.main,
    "pages --requests": pages.main,
}


@pytest.mark.parametrize("value", ["0", "-5", "nan", "1e99", "", "many"])
@pytest.mark.parametrize("option", OPTIONS)
def test_a_number_out_of_bounds_is_named_and_ends_the_program(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        OPTIONS[option]([f"{option.split()[1]}={value}"])
    assert ended.value.code == 2
    assert f"argument {option.split()[1]}: must be " in capsys.readouterr().err


def test_numbers_within_bounds_are_taken() -> None:
    plan = faults.parse(["--minutes", "0.5", "--rounds", "3", "--seed", "0"])
    assert (plan.minutes, plan.rounds, plan.seed) == (0.5, 3, 0)
    assert soak.parse(["--orders", "1000", "--every", "0.5"]).orders == 1_000
