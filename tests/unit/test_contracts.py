import pytest

from tools.contracts import FOLDER, documents


@pytest.mark.parametrize("name", documents())
def test_the_file_is_up_to_date(name: str) -> None:
    """`make contracts` writes it."""
    assert (FOLDER / name).read_text() == documents()[name]
