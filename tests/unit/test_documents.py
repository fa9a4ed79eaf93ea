import pytest

from tools.documents.__main__ import documents
from tools.stack.services import ROOT


@pytest.mark.parametrize("name", documents())
def test_the_file_is_up_to_date(name: str) -> None:
    """`make contracts` writes it."""
    assert (ROOT / name).read_text() == documents()[name]
