"""Numbers on the command lines of the tools: one that is out of bounds is wrong usage."""

import pytest

from tools.bench import __main__ as bench
from tools.faults import __main__ as faults

OPTIONS = {
    "faults": ["--minutes", "--rounds", "--seconds", "--rate"],
    "bench": ["--seconds", "--orders", "--products"],
    "bench soak": ["--orders", "--products", "--every"],
    "bench overload": ["--seconds"],
    "bench pages": ["--few", "--many", "--requests"],
}


@pytest.mark.parametrize("value", ["0", "-5", "nan", "1e99", "", "many"])
@pytest.mark.parametrize(("command", "option"), [(name, option) for name in OPTIONS for option in OPTIONS[name]])
def test_a_number_out_of_bounds_is_named_and_ends_the_program(
    command: str, option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    program, *words = command.split()
    with pytest.raises(SystemExit) as ended:
        {"faults": faults, "bench": bench}[program].parse([*words, f"{option}={value}"])
    assert ended.value.code == 2
    assert f"argument {option}: must be " in capsys.readouterr().err


def test_numbers_within_bounds_are_taken() -> None:
    plan = faults.parse(["--minutes", "0.5", "--rounds", "3", "--seed", "0"])
    assert (plan.minutes, plan.rounds, plan.seed) == (0.5, 3, 0)
    assert bench.parse(["soak", "--orders", "1000", "--every", "0.5"]).orders == 1_000
